"""Networks that are cut by their graph: timm's, torchvision's and the user's own."""
