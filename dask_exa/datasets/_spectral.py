"""Half spectra of real fields on a doubly periodic box that keep what the Nyquist modes do."""

import numpy as np
import scipy.fft

from dask_exa.datasets._slabs import WholeBox


class SpectralGrid:
    """Wavenumbers, transforms and the 2/3 mask of a periodic box.

    Spectra have shape (..., ny + 1, nx // 2 + 1): the half spectrum of a real transform and one
    row more. A code that keeps full complex spectra of real fields, as Tokam2D does, stores the
    one-sided derivative ``1j * k * f`` at the Nyquist wavenumber, which is the spectrum of an
    imaginary field; it vanishes from this field but comes back in the field's next derivative.
    Dropping it changes 128 steps of Tokam2D's reference run by 5e-5. A half spectrum has room for
    it in the Nyquist column but not in the Nyquist row, where ``f(-ky, -kx)`` is no longer the
    conjugate of ``f(ky, kx)``. The last row holds this missing half: it acts as a mode of
    wavenumber +ky_max beside the -ky_max of the regular row, so that every operator stays a
    product mode by mode, and the real field takes the mean of the two rows.

    On several ranks, each has the rows of the fields and the columns of the spectra that `box`
    tells, and the shapes below are those of its share. All ranks transform at the same time.

    Parameters
    ----------
    shape : tuple of int
        Number of points (ny, nx), both even.
    length : tuple of float
        Side lengths (ly, lx), in rho_s.
    workers : int, default=1
        Threads of each Fourier transform.
    box : WholeBox or Slab, optional
        Where the fields are. Default: all in this process.

    Attributes
    ----------
    shape : tuple of int
        Of the whole box.
    field_shape : tuple of int
        Of a field here.
    x, y : ndarray of shape (nx,) and (ny,)
        Positions of the points here, in rho_s.
    kx, ky, k2 : ndarray of shape (ny + 1, nx // 2 + 1)
        Wavenumbers and squared modulus, in 1/rho_s and 1/rho_s^2.
    mask : ndarray of shape (ny + 1, nx // 2 + 1)
        Zero where the 2/3 rule removes a mode, one elsewhere.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.datasets._spectral import SpectralGrid
    >>> grid = SpectralGrid((16, 8), (1.0, 1.0))
    >>> field = np.random.default_rng(0).normal(size=(16, 8))
    >>> grid.to_spectrum(field).shape
    (17, 5)
    >>> bool(np.allclose(grid.to_fields(grid.to_spectrum(field)), field))
    True
    """

    def __init__(self, shape, length, *, workers=1, box=None):
        (ny, nx), (ly, lx) = shape, length
        self.shape, self.length, self.workers = (ny, nx), (ly, lx), workers
        self.box = WholeBox(self.shape) if box is None else box
        y, self.x = positions(self.shape, self.length)
        self.y = y[self.box.rows]
        self.field_shape = (len(self.y), nx)
        mode_x = np.append(np.arange(nx // 2), -(nx // 2))[self.box.columns]
        mode_y = np.append(np.fft.fftfreq(ny, 1 / ny), ny // 2)
        ky, kx = np.meshgrid(mode_y * (2 * np.pi / ly), mode_x * (2 * np.pi / lx), indexing="ij")
        kx[-1, mode_x == -(nx // 2)] *= -1  # the conjugate of the corner mode (-ky_max, -kx_max)
        self.kx, self.ky, self.k2 = kx, ky, kx**2 + ky**2
        kept_y = np.abs(mode_y) < ny // 2 - ny // 6
        kept_x = np.abs(mode_x) < nx // 2 - nx // 6
        self.mask = (kept_y[:, None] & kept_x[None, :]).astype(np.float64)

    @property
    def spectrum_shape(self):
        """Shape (ny + 1, nx // 2 + 1) of one field's spectrum."""
        return self.k2.shape

    def inverse(self, spectra):
        """Return the real fields of spectra, which are overwritten.

        Parameters
        ----------
        spectra : ndarray of shape (..., ny + 1, nx // 2 + 1), complex
            Used as working space.

        Returns
        -------
        ndarray of shape (..., ny, nx)
        """
        ny, nx = self.shape
        nyquist = spectra[..., ny // 2, :]
        nyquist += spectra[..., ny, :]
        nyquist *= 0.5
        columns = scipy.fft.ifft(
            spectra[..., :ny, :], axis=-2, overwrite_x=True, workers=self.workers
        )
        # The real transform reads only the real part of its first and last mode, which is all that
        # the real field takes from these two columns.
        rows = self.box.to_rows(columns)
        return scipy.fft.irfft(rows, n=nx, axis=-1, workers=self.workers)

    def forward(self, fields):
        """Return the half spectra of real fields, without the additional row.

        Parameters
        ----------
        fields : ndarray of shape (..., ny, nx)

        Returns
        -------
        ndarray of shape (..., ny, nx // 2 + 1), complex
            The additional row of a real field is equal to row ny // 2.
        """
        rows = scipy.fft.rfft(fields, axis=-1, workers=self.workers)
        columns = self.box.to_columns(rows)
        return scipy.fft.fft(columns, axis=-2, overwrite_x=True, workers=self.workers)

    def to_fields(self, spectra):
        """Return the real fields, shape (..., ny, nx), and leave the spectra as they are."""
        return self.inverse(np.array(spectra))

    def to_spectrum(self, fields):
        """Return the spectra of real fields, with the additional row."""
        half = self.forward(np.asarray(fields, dtype=np.float64))
        nyquist = self.shape[0] // 2
        return np.concatenate([half, half[..., nyquist : nyquist + 1, :]], axis=-2)

    def gaussian(self, center, width):
        """Return the spectrum of a Gaussian of height one, repeated in every period.

        Parameters
        ----------
        center : tuple of float
            Position (y, x), in rho_s.
        width : tuple of float
            Standard deviations (y, x), in rho_s; zero means uniform along that direction.

        Returns
        -------
        ndarray of shape (ny + 1, nx // 2 + 1), complex
        """
        spectrum = np.exp(-1j * (self.ky * center[0] + self.kx * center[1]))
        for k, points, side, sigma in zip(
            (self.ky, self.kx), self.shape, self.length, width, strict=True
        ):
            line = np.sqrt(2 * np.pi) * sigma / side * np.exp(-0.5 * (k * sigma) ** 2)
            spectrum *= points * (line if sigma else k == 0)
        return spectrum


def positions(shape, length):
    """Return the positions of the points along each side, which start from zero."""
    return [np.arange(n) * (side / n) for n, side in zip(shape, length, strict=True)]
