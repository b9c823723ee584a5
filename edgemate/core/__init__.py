"""What training and device share: image files, the network's input, resizing, and scores of logits, without torch."""
