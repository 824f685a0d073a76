"""Run the NB-1010-U driver over libusb and print the image's bytes; a program of its own for `umockdev-run`."""

import sys

from drivers.nb1010 import Nb1010Driver
from hal import Deadline


def main() -> None:
    """One capture from the first reader found, as raw bytes on standard output."""
    with Nb1010Driver().open({}) as reader:
        image = reader.capture(Deadline.after(30))
    sys.stdout.buffer.write(image.pixels.tobytes())


if __name__ == "__main__":
    main()
