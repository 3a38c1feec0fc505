"""The config of an algorithm: its settings by section, what follows from them, and how they are kept."""
