"""Tokam2D's equations mode by mode: linear coefficients, right-hand side and Runge-Kutta step.

Electric drift v = (-d_y phi, d_x phi), vorticity = laplacian of phi. With the spectra n and phi of
density and potential, the three models are one system

    d_t n   = L[0, 0] n + L[0, 1] phi - N(n) + source
    d_t phi = L[1, 0] n + L[1, 1] phi + (N(vorticity) - source) / k^2

where N(f) is the spectrum of div(v f) and L a 2 x 2 matrix for each mode.
"""

import numpy as np

_RK4_LIMIT = 2.78  # on the negative real axis, where dissipation lies; 2.83 on the imaginary one


def linear_coefficients(parameters, kx, ky):
    """Return the linear part of the equations for given wavenumbers.

    Parameters
    ----------
    parameters : Tokam2DParameters
    kx, ky : array_like
        Wavenumbers in 1/rho_s, broadcast against each other.

    Returns
    -------
    ndarray of shape (2, 2, ...), complex
        Row: the equation (density, potential); column: the field it acts on. In Omega_ci.
    """
    p = parameters
    kx, ky = np.broadcast_arrays(np.asarray(kx, dtype=float), np.asarray(ky, dtype=float))
    k2 = kx**2 + ky**2
    inverse_k2 = 1.0 / np.where(k2 == 0, 1.0, k2)
    density = -p.density_diffusion * k2 - p.density_hyperdiffusion * k2**2 - p.density_friction
    potential = (
        -p.potential_diffusion * k2 - p.potential_hyperdiffusion * k2**2 - p.potential_friction
    )
    matrix = np.zeros((2, 2, *k2.shape), dtype=complex)
    curvature_drive = 1j * ky * p.curvature
    if p.model == "sol":
        matrix[0, 0] = density - p.sigma_nn
        matrix[0, 1] = p.sigma_nphi
        matrix[1, 0] = (curvature_drive + p.sigma_phin) * inverse_k2
        matrix[1, 1] = potential - p.sigma_phiphi * inverse_k2
    else:
        # Modified Hasegawa-Wakatani: zonal modes have no parallel current, hence no coupling.
        coupling = np.where((ky == 0) & ((p.model == "mhw") | (kx == 0)), 0.0, p.adiabaticity)
        drive = np.where((ky == 0) & (p.model == "mhw"), 0.0, p.adiabaticity)
        matrix[0, 0] = density - coupling
        matrix[0, 1] = drive - 1j * ky * p.density_gradient
        matrix[1, 0] = (p.adiabaticity + curvature_drive) * inverse_k2
        matrix[1, 1] = potential - coupling * inverse_k2
    # Tokam2D lets no density into the potential of zonal modes, in all of its models.
    matrix[1, 0] = np.where(ky == 0, 0.0, matrix[1, 0])
    return matrix


def eigenvalues(matrix):
    """Return both eigenvalues of 2 x 2 matrices, the larger real part first.

    Parameters
    ----------
    matrix : ndarray of shape (2, 2, ...), complex

    Returns
    -------
    ndarray of shape (2, ...), complex
    """
    (a, b), (c, d) = matrix
    mean, spread = (a + d) / 2, np.sqrt(((a - d) / 2) ** 2 + b * c)
    # The principal square root has a real part that is never negative.
    return np.stack([mean + spread, mean - spread])


def check_time_step(parameters, grid):
    """Raise ValueError when RK4 would amplify a linear mode of the grid by itself."""
    matrix = linear_coefficients(parameters, grid.kx, grid.ky)
    rates = np.abs(eigenvalues(matrix)).max(axis=0)
    at = np.unravel_index(np.argmax(rates), rates.shape)
    rate, kx, ky = grid.box.largest((rates[at], abs(grid.kx[at]), abs(grid.ky[at])))
    time_step = parameters.time_step
    if time_step * rate >= _RK4_LIMIT:
        raise ValueError(
            f"time_step={time_step} is unstable: the mode kx={kx:.3g}, "
            f"ky={ky:.3g} has the rate {rate:.3g} and RK4 needs their product "
            f"below {_RK4_LIMIT}; pass a time_step below {_RK4_LIMIT / rate:.3g}, or "
            "check_stability=False to run it all the same."
        )


class Equations:
    """Right-hand side and RK4 step on one grid, with all working space allocated once.

    Parameters
    ----------
    parameters : Tokam2DParameters
    grid : SpectralGrid
    """

    def __init__(self, parameters, grid):
        self.grid = grid
        kx, ky = grid.kx, grid.ky
        inverse_k2 = 1.0 / np.where(grid.k2 == 0, 1.0, grid.k2)
        self._linear = linear_coefficients(parameters, kx, ky)
        # vorticity, v_x and v_y from the potential
        self._from_potential = np.stack([-grid.k2.astype(complex), -1j * ky, 1j * kx])
        # -div for the density; the vorticity equation divided by -k^2 is that of the potential
        divergence = np.stack([1j * kx, 1j * ky])
        self._divergence = np.stack([-divergence, divergence * inverse_k2])
        self._source = self._source_spectrum(parameters, inverse_k2)
        self._spectra = np.empty((4, *grid.spectrum_shape), dtype=complex)
        self._flux = np.empty((2, 2, *grid.field_shape))
        self._terms = np.empty((2, 2, *grid.spectrum_shape), dtype=complex)
        self._slope, self._stage, self._total = np.empty((3, 2, *grid.spectrum_shape), complex)

    def _source_spectrum(self, parameters, inverse_k2):
        """Return the constant term of both equations, shape (2, ny + 1, nx // 2 + 1)."""
        source = np.zeros((2, *self.grid.spectrum_shape), dtype=complex)
        n_points = self.grid.shape[0] * self.grid.shape[1]
        source[0, self.grid.k2 == 0] = parameters.uniform_source * n_points
        for gaussian in parameters.sources:
            shape = self.grid.gaussian(gaussian.center, gaussian.width)
            source[0] += gaussian.density * shape
            source[1] -= gaussian.potential * shape * inverse_k2
        return source

    def right_hand_side(self, state, out):
        """Write the time derivative of a state.

        Eight real transforms: density, vorticity and the two velocities to real space, the two
        fluxes of each of the two advected fields back.

        Parameters
        ----------
        state, out : ndarray of shape (2, ny + 1, nx // 2 + 1), complex
            Spectra of density and potential, and their derivatives; two different arrays.
        """
        ny = self.grid.shape[0]
        self._spectra[0] = state[0]
        np.multiply(self._from_potential, state[1], out=self._spectra[1:])
        fields = self.grid.inverse(self._spectra)
        np.multiply(fields[:2, None], fields[None, 2:], out=self._flux)
        flux = self.grid.forward(self._flux)
        terms, divergence = self._terms, self._divergence
        np.multiply(divergence[:, :, :ny], flux, out=terms[:, :, :ny])
        np.multiply(divergence[:, :, ny], flux[:, :, ny // 2], out=terms[:, :, ny])
        np.add(terms[:, 0], terms[:, 1], out=out)
        np.multiply(self._linear, state, out=terms)
        out += terms[:, 0]
        out += terms[:, 1]
        out += self._source

    def step(self, state, time_step):
        """Advance a state in place by one classical fourth-order Runge-Kutta step.

        Parameters
        ----------
        state : ndarray of shape (2, ny + 1, nx // 2 + 1), complex
        time_step : float
            In 1/Omega_ci.
        """
        slope, stage, total = self._slope, self._stage, self._total
        self.right_hand_side(state, total)
        np.multiply(total, 0.5 * time_step, out=stage)
        for fraction in (0.5, 1.0):
            stage += state
            self.right_hand_side(stage, slope)
            np.multiply(slope, fraction * time_step, out=stage)
            slope *= 2.0
            total += slope
        stage += state
        self.right_hand_side(stage, slope)
        total += slope
        total *= time_step / 6.0
        state += total
