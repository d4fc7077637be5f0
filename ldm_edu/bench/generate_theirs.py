"""What a new process does to draw with diffusers: import, load, draw, write.  FOLDER DEVICE STEMS SIDE PICTURE."""

from __future__ import annotations

import sys


def main(folder: str, device: str, unet_stem: str, autoencoder_stem: str, side: str, picture: str) -> None:
    """Draw with the U-Net and the autoencoder saved in a folder, and write a picture."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from torchvision.utils import save_image

    from ldm_edu.bench.generate import drawing

    unet = UNet2DConditionModel.from_pretrained(f"{folder}/unet").to(device)
    autoencoder = AutoencoderKL.from_pretrained(f"{folder}/autoencoder").to(device)
    save_image(drawing(unet, autoencoder, int(unet_stem), int(autoencoder_stem), int(side))() / 2 + 0.5, picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
