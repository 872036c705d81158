"""Pictures as people have them: folders of classes, or a list of pictures with their labels."""
