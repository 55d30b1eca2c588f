"""The error function, which NumPy does not have."""

from __future__ import annotations

import numpy as np

from funcnn.tree import Array

# Coefficients, lowest power first, of the rational approximations in FreeBSD's msun/src/s_erf.c (Sun Microsystems,
# 1993). Each has an error below one unit in the last place of a double on its interval of |x|.
_SMALL = (  # erf(x) = x + x p(x^2)/q(x^2) below 0.84375
    (
        1.28379167095512558561e-01, -3.25042107247001499370e-01, -2.84817495755985104766e-02,
        -5.77027029648944159157e-03, -2.37630166566501626084e-05,
    ),
    (
        1.0, 3.97917223959155352819e-01, 6.50222499887672944485e-02, 5.08130628187576562776e-03,
        1.32494738004321644526e-04, -3.96022827877536812320e-06,
    ),
)  # fmt: skip
_ERX = 8.45062911510467529297e-01
_MIDDLE = (  # erf(x) = _ERX + p(x - 1)/q(x - 1) below 1.25
    (
        -2.36211856075265944077e-03, 4.14856118683748331666e-01, -3.72207876035701323847e-01,
        3.18346619901161753674e-01, -1.10894694282396677476e-01, 3.54783043256182359371e-02,
        -2.16637559486879084300e-03,
    ),
    (
        1.0, 1.06420880400844228286e-01, 5.40397917702171048937e-01, 7.18286544141962662868e-02,
        1.26171219808761642112e-01, 1.36370839120290507362e-02, 1.19844998467991074170e-02,
    ),
)  # fmt: skip
_LARGE = (  # erfc(x) = exp(-x^2 - 0.5625 + p(1/x^2)/q(1/x^2)) / x below 1/0.35
    (
        -9.86494403484714822705e-03, -6.93858572707181764372e-01, -1.05586262253232909814e01,
        -6.23753324503260060396e01, -1.62396669462573470355e02, -1.84605092906711035994e02,
        -8.12874355063065934246e01, -9.81432934416914548592e00,
    ),
    (
        1.0, 1.96512716674392571292e01, 1.37657754143519042600e02, 4.34565877475229228821e02,
        6.45387271733267880336e02, 4.29008140027567833386e02, 1.08635005541779435134e02,
        6.57024977031928170135e00, -6.04244152148580987438e-02,
    ),
)  # fmt: skip
_HUGE = (  # the same formula above 1/0.35
    (
        -9.86494292470009928597e-03, -7.99283237680523006574e-01, -1.77579549177547519889e01,
        -1.60636384855821916062e02, -6.37566443368389627722e02, -1.02509513161107724954e03,
        -4.83519191608651397019e02,
    ),
    (
        1.0, 3.03380607434824582924e01, 3.25792512996573918826e02, 1.53672958608443695994e03,
        3.19985821950859553908e03, 2.55305040643316442583e03, 4.74528541206955367215e02,
        -2.24409524465858183362e01,
    ),
)  # fmt: skip


def erf(x: Array) -> Array:
    """Return 2/sqrt(pi) times the integral of exp(-t^2) from 0 to ``x``, to within 1e-15 in float64.

    Complex arguments are meant for complex steps: the result is accurate near the real axis, and the real part selects
    the formula.
    """
    sign = np.where(x.real < 0, -1.0, 1.0).astype(x.real.dtype)
    z = x * sign
    size = z.real
    y = np.empty_like(x)
    for low, high, part in (
        (-1.0, 0.84375, _small),
        (0.84375, 1.25, _middle),
        (1.25, 1 / 0.35, _large),
        (1 / 0.35, 6.0, _huge),
    ):
        inside = (size >= low) & (size < high)
        y[inside] = part(z[inside])
    y[size >= 6.0] = 1.0  # exact to the last digit
    y[np.isnan(size)] = np.nan
    return y * sign


def _small(x: Array) -> Array:
    return x + x * _ratio(_SMALL, x * x)


def _middle(x: Array) -> Array:
    return _ERX + _ratio(_MIDDLE, x - 1)


def _large(x: Array) -> Array:
    return 1 - _tail(_LARGE, x)


def _huge(x: Array) -> Array:
    return 1 - _tail(_HUGE, x)


def _tail(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    return np.exp(-x * x - 0.5625 + _ratio(coefficients, 1 / (x * x))) / x


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    p, q = (_polynomial(c, x) for c in coefficients)
    return p / q


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    value = x * 0 + coefficients[-1]
    for c in reversed(coefficients[:-1]):
        value = value * x + c
    return value
