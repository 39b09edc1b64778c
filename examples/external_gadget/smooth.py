"""A gadget for the public `gadgetron` package, as sites have them; it runs unchanged under Gadgetron and here."""

import ismrmrd
import numpy as np


def smooth(connection):
    """Smooth images in the plane; the width [pixels] is a property of the configuration."""
    properties = {element.get("name"): element.get("value") for element in connection.config.iter("property")}
    width = float(properties.get("width", 1))

    connection.filter(ismrmrd.Image)  # anything else goes back as it came
    for image in connection:
        n_y, n_x = image.data.shape[-2:]
        frequency = np.fft.fftfreq(n_y)[:, None] ** 2 + np.fft.fftfreq(n_x) ** 2
        kernel = np.exp(-2 * (np.pi * width) ** 2 * frequency)
        smoothed = np.fft.ifft2(np.fft.fft2(image.data) * kernel)
        image.data[:] = smoothed if np.iscomplexobj(image.data) else smoothed.real
        connection.send(image)
