"""TensorRT and TensorRT-RTX: building engines on the device, loading them, running them."""
