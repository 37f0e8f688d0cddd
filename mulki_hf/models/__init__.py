"""The dual encoder: loaded, asked for features of images and of classes, asked to classify."""
