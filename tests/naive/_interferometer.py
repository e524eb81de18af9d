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


def sums_of_baseline(visibility, weight):
    """All sums of `BaselineSums` for one baseline: (time, channel, polarisation)."""
    n_times, n_channels, n_polarisations = visibility.shape
    real = ("count", "weight", "amplitude", "power", "plain_power", "plain_square")
    sums = dict.fromkeys(real, 0.0)
    sums |= dict.fromkeys(("visibility", "next_dump", "next_channel"), 0j)

    def product(t, f, p, t_before, f_before):
        if min(t_before, f_before) < 0 or weight[t_before, f_before, p] == 0:
            return 0j
        both = float(weight[t, f, p]) * float(weight[t_before, f_before, p])
        return (
            both
            * complex(visibility[t, f, p])
            * complex(visibility[t_before, f_before, p]).conjugate()
        )

    for t in range(n_times):
        for f in range(n_channels):
            for p in range(n_polarisations):
                w, value = float(weight[t, f, p]), complex(visibility[t, f, p])
                if w == 0:
                    continue
                sums["count"] += 1
                sums["weight"] += w
                sums["amplitude"] += w * abs(value)
                sums["power"] += w * abs(value) ** 2
                sums["visibility"] += w * value
                sums["plain_power"] += abs(value) ** 2
                sums["plain_square"] += abs(value) ** 4
                sums["next_dump"] += product(t, f, p, t - 1, f)
                sums["next_channel"] += product(t, f, p, t, f - 1)
    return sums
