"""LoRA on frozen layers as one operation each, for training as fast as the device allows."""
