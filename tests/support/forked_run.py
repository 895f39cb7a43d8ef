"""`litellm-claude-code run` without the seconds that its program would spend on importing litellm and DSPy.

`FORKED_RUN` is a script for `scripts.Forker`. It divides in two: one process is `run`, with nothing patched but how it
starts its program, and the other one, its child, becomes that program once `run` has decided on its command line and
environment. The program sees what a new Python would: `sitecustomize` first, and litellm and DSPy as not yet imported.

One thing differs: what the program forks has another environment in /proc than the program, so that a halted run does
not find it. Programs that fork need a new interpreter.
"""

from .processes import RUN_COMMAND

FORKED_RUN = f"""
import json, os, subprocess, sys
reads, writes = os.pipe()
if (program := os.fork()) != 0:
    class Popen(subprocess.Popen):
        def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *_):
            self.pid, self._child_created = program, True
            with open(writes, "w") as given:
                json.dump([args, env], given)

    os.close(reads)
    subprocess.Popen = Popen
    {RUN_COMMAND}
os.close(writes)
with open(reads) as given:
    (_, *sys.argv), environment = json.load(given)
os.environ.clear()
os.environ.update(environment)

import importlib, importlib.machinery, runpy
again = ("litellm", "dspy", "dspy.clients.base_lm")
imported = {{name: sys.modules.pop(name) for name in again if name in sys.modules}}

class Again:
    "Finds and loads the modules that have been imported already."

    @staticmethod
    def find_spec(name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, Again()) if name in imported else None

    def create_module(self, spec):
        module = imported.pop(spec.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = self.spec
        for name in [name for name in imported if name.startswith(module.__name__ + ".")]:
            importlib.import_module(name)

sys.meta_path.insert(0, Again)
sys.modules.pop("sitecustomize", None)
sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)
import sitecustomize
if sys.argv[0] == "-m":
    sys.path.insert(0, os.getcwd())
    name = sys.argv.pop(1)
    runpy.run_module(name, run_name="__main__", alter_sys=True)
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
    runpy.run_path(sys.argv[0], run_name="__main__")
"""
