"""cri."""
from engine import Engine
class Cri(Engine):
    kind = "cri"
