"""Microphones through PortAudio (python-sounddevice over libportaudio2)."""

from drivers.portaudio._driver import PortAudioDriver
from drivers.portaudio._microphone import PortAudioMicrophone
from drivers.portaudio._options import MicrophoneOptions

__all__ = ["MicrophoneOptions", "PortAudioDriver", "PortAudioMicrophone"]
