"""Files found by what is heard and seen in them: an index of a folder, asked with a sound, a picture or a clip."""
