"""A screen as a light, over the kernel's framebuffer device."""

from drivers.framebuffer._display import FramebufferDisplay
from drivers.framebuffer._driver import FramebufferDriver

__all__ = ["FramebufferDisplay", "FramebufferDriver"]
