"""``cupy.fft``: what the array API names; gpulaf asks for none of it."""

import numpy as _np

from ._array import compute as _compute


def fftfreq(n, d=1.0):
    return _compute(_np.fft.fftfreq, n, d)


def rfftfreq(n, d=1.0):
    return _compute(_np.fft.rfftfreq, n, d)


def fftshift(x, axes=None):
    return _compute(_np.fft.fftshift, x, axes)


def ifftshift(x, axes=None):
    return _compute(_np.fft.ifftshift, x, axes)


def fft(a, n=None, axis=-1, norm=None):
    return _compute(_np.fft.fft, a, n, axis, norm)


def ifft(a, n=None, axis=-1, norm=None):
    return _compute(_np.fft.ifft, a, n, axis, norm)


def fftn(a, s=None, axes=None, norm=None):
    return _compute(_np.fft.fftn, a, s, axes, norm)


def ifftn(a, s=None, axes=None, norm=None):
    return _compute(_np.fft.ifftn, a, s, axes, norm)


def rfft(a, n=None, axis=-1, norm=None):
    return _compute(_np.fft.rfft, a, n, axis, norm)


def irfft(a, n=None, axis=-1, norm=None):
    return _compute(_np.fft.irfft, a, n, axis, norm)


def rfftn(a, s=None, axes=None, norm=None):
    return _compute(_np.fft.rfftn, a, s, axes, norm)


def irfftn(a, s=None, axes=None, norm=None):
    return _compute(_np.fft.irfftn, a, s, axes, norm)


def hfft(a, n=None, axis=-1, norm=None):
    return _compute(_np.fft.hfft, a, n, axis, norm)


def ihfft(a, n=None, axis=-1, norm=None):
    return _compute(_np.fft.ihfft, a, n, axis, norm)
