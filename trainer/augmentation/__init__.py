"""Batched augmentation of images and labels, on the device of the images."""
