"""Tokam2D's equations on full complex spectra."""

import numpy as np


def tokam2d_right_hand_side(density, potential, parameters):
    """Time derivative of Tokam2D's full complex spectra, each of shape (ny, nx).

    Real fields are the real part of a complex transform, as in Tokam2D itself; what a Nyquist
    derivative puts in the imaginary part stays in the spectra.
    """
    p = parameters
    (ny, nx), (ly, lx) = p.shape, p.length
    kx, ky = np.meshgrid(
        2 * np.pi * np.fft.fftfreq(nx, lx / nx), 2 * np.pi * np.fft.fftfreq(ny, ly / ny)
    )
    k2 = kx**2 + ky**2
    k2_or_one = np.where(k2 == 0, 1, k2)

    def real(spectrum):
        return np.fft.ifft2(spectrum).real

    v_x, v_y = real(-1j * ky * potential), real(1j * kx * potential)

    def transport(field):
        return 1j * kx * np.fft.fft2(v_x * field) + 1j * ky * np.fft.fft2(v_y * field)

    damping_n = p.density_diffusion * k2 + p.density_hyperdiffusion * k2**2 + p.density_friction
    damping_phi = (
        p.potential_diffusion * k2 + p.potential_hyperdiffusion * k2**2 + p.potential_friction
    )
    d_density = -damping_n * density - transport(real(density))
    d_potential = -damping_phi * potential + transport(real(-k2 * potential)) / k2_or_one
    not_zonal = ky != 0
    if p.model == "sol":
        d_density += p.sigma_nphi * potential - p.sigma_nn * density
        d_potential -= p.sigma_phiphi * potential / k2_or_one
        d_potential += not_zonal * (1j * ky * p.curvature + p.sigma_phin) * density / k2_or_one
    else:
        coupled = not_zonal if p.model == "mhw" else np.ones_like(not_zonal)
        C, not_mean = coupled * p.adiabaticity, k2 > 0
        d_density += (C - 1j * ky * p.density_gradient) * potential - not_mean * C * density
        d_potential -= not_mean * C * potential / k2_or_one
        d_potential += not_zonal * (C + 1j * ky * p.curvature) * density / k2_or_one
    for gaussian in p.sources:
        shape = np.exp(-1j * (ky * gaussian.center[0] + kx * gaussian.center[1])) * nx * ny
        for k, side, width in ((ky, ly, gaussian.width[0]), (kx, lx, gaussian.width[1])):
            decay = np.sqrt(2 * np.pi) * width / side * np.exp(-0.5 * (k * width) ** 2)
            shape = shape * (decay if width else k == 0)
        d_density += gaussian.density * shape
        d_potential -= gaussian.potential * shape / k2_or_one
    d_density[0, 0] += p.uniform_source * nx * ny
    return d_density, d_potential
