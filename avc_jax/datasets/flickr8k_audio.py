"""Flickr8k Audio Caption Corpus: five captions of each of 8,000 pictures, read aloud (doi 10.1109/ASRU.2015.7404800)."""

VARIANTS = {
    "flickr8k_audio": "The splits of Flickr8k.",
}
LISTS: dict[str, tuple[str, ...]] = {
    "flickr8k_audio": (),
}
SETTINGS = {"source": "spoken_captions", "evaluate_split": "validation"}
