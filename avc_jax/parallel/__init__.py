"""Where arrays lie: the mesh of devices and the placement of states and batches on it."""
