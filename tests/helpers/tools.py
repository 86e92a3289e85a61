"""Stand-ins for Weights & Biases and MLflow, which keep in memory what they are given."""

import itertools
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace


class Config(dict):
    def update(self, values, allow_val_change=False):
        assert allow_val_change
        super().update(values)


class WandbRun:
    """A run of `FakeWandb`, which lasts over processes; `step` counts what has arrived."""

    def __init__(self, name: str, project: str, mode: str):
        self.id, self.project, self.mode = name, project, mode
        self.offline, self.disabled = mode == "offline", mode == "disabled"
        self.url, self.dir = f"https://host/{name}", f"/files/{name}"
        self.config, self.axes, self.rows, self.ends = Config(), {}, [], []

    @property
    def step(self) -> int:
        return 0 if self.offline else len(self.rows)

    def define_metric(self, name, step_metric=None, hidden=False):
        self.axes[name] = step_metric

    def log(self, values, step=None):
        self.rows.append((step, values))

    def finish(self, exit_code):
        self.ends.append(exit_code)


def fake_wandb(mode: str = "online") -> ModuleType:
    """A module `wandb`, with its runs by id in `runs` and the arguments of `init` in `given`."""
    module = ModuleType("wandb")
    module.__spec__ = ModuleSpec("wandb", None, origin="stand-in")
    module.run, module.runs, module.given, module.mode = None, {}, [], mode
    fields = {"x_transaction_log_flush_interval": None}
    module.Settings = type("Settings", (SimpleNamespace,), {"model_fields": fields})

    def init(**given):
        module.given.append(given)
        return module.runs.setdefault(
            given["id"], WandbRun(given["id"], given["project"] or "of the user", module.mode)
        )

    module.init = init
    return module


class MlflowException(Exception):
    """An error of MLflow with its code."""

    def __init__(self, text: str, error_code: str = "RESOURCE_DOES_NOT_EXIST"):
        super().__init__(text)
        self.error_code = error_code


def fake_mlflow(uri: str | None = None, active: str | None = None) -> dict[str, ModuleType]:
    """The modules of MLflow by name; `mlflow.stores` holds runs by store and id, `active` is the user's run."""
    module, entities, exceptions = map(ModuleType, ("mlflow", "mlflow.entities", "mlflow.exceptions"))
    module.__spec__ = ModuleSpec("mlflow", None, origin="stand-in")
    module.stores, module.experiments, count = {}, {"recbole-bd in use": "7"}, itertools.count()
    entities.Metric = lambda key, value, timestamp, step: (key, value, step)
    entities.Param = lambda key, value: (key, value)
    exceptions.MlflowException = MlflowException

    def new(name: str, **more) -> SimpleNamespace:
        info, data = SimpleNamespace(run_id=name), SimpleNamespace(params={})
        return SimpleNamespace(info=info, data=data, metrics=[], tags={}, status="RUNNING", batches=[], **more)

    class MlflowClient:
        def __init__(self, tracking_uri):
            self.runs = module.stores.setdefault(tracking_uri, {})

        def get_run(self, name):
            if name not in self.runs:
                raise MlflowException(f"Run {name} not found")
            return self.runs[name]

        def create_run(self, experiment, tags, run_name):
            name = f"{run_name}-{next(count)}"
            self.runs[name] = new(name, experiment=experiment)
            return self.runs[name]

        def log_batch(self, name, metrics=(), params=()):
            self.runs[name].batches.append(len(params))
            self.runs[name].metrics += metrics
            self.runs[name].data.params |= dict(params)

        def set_tag(self, name, key, value):
            self.runs[name].tags[key] = value

        def update_run(self, name, status):
            self.runs[name].status = status

        def set_terminated(self, name, status):
            self.runs[name].status = status

        def get_experiment_by_name(self, name):
            found = module.experiments.get(name)
            return found and SimpleNamespace(experiment_id=found)

        def create_experiment(self, name):
            return module.experiments.setdefault(name, str(len(module.experiments)))

    module.MlflowClient = MlflowClient
    module.is_tracking_uri_set, module.get_tracking_uri = lambda: uri is not None, lambda: uri
    if active:
        module.stores[uri] = {active: new(active)}
    module.active_run = lambda: module.stores[uri][active] if active else None
    return {"mlflow": module, "mlflow.entities": entities, "mlflow.exceptions": exceptions}
