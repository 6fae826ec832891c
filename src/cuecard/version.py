"""The installed version. Reading it takes hundredths of a second, so few import this."""

from importlib.metadata import version

__version__ = version("cuecard")
