"""From a folder of photographs to a 3D generative model of clothed, animatable people."""

__version__ = "0.1.0"
