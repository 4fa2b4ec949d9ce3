"""ESC-50 and its part ESC-10: 5 s of environmental sounds in five folds (doi 10.1145/2733373.2806390)."""

from pathlib import Path

from avc_jax.datasets.layout import Folder, Item, choose

VARIANTS = {"esc50": "All 50 classes.", "esc10": "The ten classes of ESC-10."}
CLASSES = (
    "dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow",
    "rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds", "water_drops", "wind", "pouring_water", "toilet_flush",
    "thunderstorm",
    "crying_baby", "sneezing", "clapping", "breathing", "coughing", "footsteps", "laughing", "brushing_teeth", "snoring",
    "drinking_sipping",
    "door_wood_knock", "mouse_click", "keyboard_typing", "door_wood_creaks", "can_opening", "washing_machine", "vacuum_cleaner",
    "clock_alarm", "clock_tick", "glass_breaking",
    "helicopter", "chainsaw", "siren", "car_horn", "engine", "train", "church_bells", "airplane", "fireworks", "hand_saw",
)  # fmt: skip
TABLE = "meta/esc50.csv"
_COLUMNS = ("filename", "fold", "target", "category", "esc10")


def read(root: Path, variant: str = "") -> list[Item]:
    """The clips of meta/esc50.csv, with their folds "1" to "5".

    Raises:
      MissingInputError: the table or a sound is not there.
      DataError: the table is not that of ESC-50.
      ConfigError: no such variant.
    """
    folder = Folder(Path(root), "esc50")
    small = choose(variant, VARIANTS) == "esc10"
    rows = folder.rows(TABLE, _COLUMNS)
    for row in rows:
        if row["category"] not in CLASSES or row["target"] != str(CLASSES.index(row["category"])):
            raise folder.wrong(TABLE, f"{row['filename']} is of class {row['target']}, {row['category']!r}, "
                                      "which ESC-50 does not have.")
    return folder.require(Item(f"audio/{row['filename']}", row["category"], row["fold"])
                          for row in rows if not small or row["esc10"] == "True")
