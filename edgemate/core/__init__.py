"""What training and device share: the network's input, resizing, and scores of logits. No torch, no onnx."""
