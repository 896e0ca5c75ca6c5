"""buildah: the steps of a build, each run by the runtime in the foreground of its own making."""

import json
import os

import image
from engine import Engine, call, states_in


class Buildah(Engine):
    kind = "buildah"
    command = ["buildah"]

    def start(self):
        os.makedirs("/etc/containers", exist_ok=True)
        # The limits are low because this machine's root lacks CAP_SYS_RESOURCE.
        with open("/etc/containers/containers.conf", "w") as file:
            file.write('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
                       f'[engine.runtimes]\n{self.runtime.name} = ["{self.runtime.path}"]\n')
        if not os.path.exists("/etc/containers/policy.json"):
            with open("/etc/containers/policy.json", "w") as file:
                json.dump({"default": [{"type": "insecureAcceptAnything"}]}, file)
        self.beneath = ["--runtime", self.runtime.path, "--isolation", "oci"]
        self.tar = image.as_tar(self.box, os.path.join(self.folder, "box.tar"))
        name = self.from_scratch()
        self("commit", "--quiet", "--rm", name, "box")

    def __call__(self, *arguments, **options):
        return call([*self.command, *arguments], **options)

    def version(self):
        return self("--version").out.strip()

    def from_scratch(self):
        """A working container that holds the box, made of nothing."""
        name = self("from", "scratch").out.strip()
        # A tar, since a folder's files would all become root's.
        self("add", "--quiet", name, self.tar, "/")
        return name

    def working(self, base="box"):
        return self("from", "--pull-never", base).out.strip()

    def run_command(self, name, *arguments, options=()):
        return [*self.command, "run", *self.beneath, *options, name, "--", *arguments]

    def run(self, name, *arguments, options=(), **kept):
        return call(self.run_command(name, *arguments, options=options), **kept)

    def sh(self, name, script, *options, **kept):
        return self.run(name, "sh", "-c", script, options=options, **kept).out

    def build(self, text, *options, tag="built", **kept):
        """Builds the image of a Containerfile's text; the files of its context are in the folder given back."""
        context = self.path("context")
        with open(os.path.join(context, "Containerfile"), "w") as file:
            file.write(text)
        with open(os.path.join(context, "file"), "w") as file:
            file.write("from the context\n")
        return self("build", *self.beneath, "--pull-never", "--tag", tag, *options, context, **kept)

    def sweep(self):
        self("rm", "--all", status=None)
        for name in self("images", "--quiet", "--filter", "reference=built", status=None).out.split():
            self("rmi", "--force", name, status=None)
        # Where the runtime keeps its state when it is given no root.
        return states_in(f"/run/{self.runtime.name}")
