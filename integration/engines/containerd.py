"""containerd."""
from engine import Engine
class Containerd(Engine):
    kind = "containerd"
