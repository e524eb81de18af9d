"""Direct Fourier sums and baseline statistics, term by term."""

import cmath
import math

SPEED_OF_LIGHT = 299792458.0


def direct_fourier_sum(uvw, frequency, directions, flux):
    """Visibility of one baseline at one frequency: uvw in m, directions l, m, n, fluxes in Jy."""
    u, v, w = uvw
    total = 0j
    for (east, north, n), strength in zip(directions, flux, strict=True):
        path = u * east + v * north + w * (n - 1)
        total += strength * cmath.exp(2j * math.pi * frequency * path / SPEED_OF_LIGHT)
    return total


def dirty_pixel(uvw, frequency, visibility, weight, east, north):
    """Weighted mean of visibilities turned towards one direction; uvw are rows in m."""
    n = math.sqrt(1 - east * east - north * north)
    total, sum_of_weights = 0.0, 0.0
    for (u, v, w), row, weights in zip(uvw, visibility, weight, strict=True):
        path = u * east + v * north + w * (n - 1)
        for f, value, share in zip(frequency, row, weights, strict=True):
            if share > 0:
                turned = value * cmath.exp(-2j * math.pi * f * path / SPEED_OF_LIGHT)
                total += share * turned.real
                sum_of_weights += share
    return total / sum_of_weights if sum_of_weights else 0.0


def spectral_kurtosis(powers):
    """Nita & Gary's estimator for one accumulated power per sample (n = 1)."""
    count = len(powers)
    first, second = sum(powers), sum(p * p for p in powers)
    return (count + 1) / (count - 1) * (count * second / first**2 - 1)


def closure_phase(visibility, p, q, r):
    """Phase of V_pq V_qr V_rp; visibility is a dict of (p, q) with p < q."""

    def of(a, b):
        return visibility[a, b] if a < b else visibility[b, a].conjugate()

    return cmath.phase(of(p, q) * of(q, r) * of(r, p))


def closure_amplitude(visibility, p, q, r, s):
    """|V_pq| |V_rs| / (|V_pr| |V_qs|), with p < q < r < s."""
    v = visibility
    return abs(v[p, q]) * abs(v[r, s]) / (abs(v[p, r]) * abs(v[q, s]))
