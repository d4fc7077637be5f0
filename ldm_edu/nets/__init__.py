"""The networks: U-Net, autoencoder and their parts. Import each from its own module."""
