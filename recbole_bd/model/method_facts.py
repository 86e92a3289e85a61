"""Facts of a distillation method that its class and the settings give, before anything is built."""

from typing import Any

from recbole.config import Config

from recbole_bd.backbones.names import DIRECTION_INTO, PLACEBO, STUDENT, TEACHER
from recbole_bd.backbones.registry import is_sequential, recommender_class, require_teachable
from recbole_bd.errors import ConfigError
from recbole_bd.model.objective import objective_text, own_loss_text


class MethodFacts:
    """Facts of a method, as class methods; a method overrides those in which it differs.

    Attributes:
        learners: names of the roles that learn in the distillation stage.
    """

    learners: tuple[str, ...] = (TEACHER, STUDENT)

    @classmethod
    def check_roles(cls, backbones: dict[str, str]) -> None:
        """Refuse models that cannot take their role in this method, before any data is loaded.

        Args:
            backbones: name of the RecBole model by role.

        Raises:
            RoleError: names the model and the role, and says which to use instead.
        """
        for role, name in backbones.items():
            if role in cls.learners:
                require_teachable(name, role)
            else:
                recommender_class(name)

    @classmethod
    def objective_of(cls, config: Config, backbones: dict[str, str], control: bool = False) -> dict[str, str]:
        """Write the losses of the distillation stage, or of its control, from the settings alone.

        Args:
            config: settings of the run, with the method's options.
            backbones: name of the RecBole model by role.
            control: the learners train by their own loss only.

        Returns:
            One line by learner, e.g. `loss(student) = BPR + 2.0 * listwise(...)`.
        """
        terms = {role: [] if control else cls.distillation_terms(config, role) for role in cls.learners}
        own = {role: own_loss_text(config.role(role), backbones[role]) for role in cls.learners}
        return {role: objective_text(role, own[role], terms[role]) for role in cls.learners}

    @classmethod
    def distillation_terms(cls, config: Config, role: str) -> list[str]:
        """Write the terms that a learner's loss adds to the model's own, with weights; by default the method's name.

        Args:
            config: settings of the run, with the method's options.
            role: a learner.
        """
        return [cls.__name__]

    @classmethod
    def placebo_settings(cls, config: Config) -> dict[str, Any]:
        """Settings with which the method learns nothing from the other role, for the placebo arm; none by default.

        Args:
            config: settings of the run, with the method's options.

        Returns:
            Values of the method's options.

        Raises:
            ConfigError: the method has no placebo, or not the one that `placebo` names.
        """
        raise ConfigError(f"controls={config['controls']}: {config['model']} has no placebo; leave placebo out")

    @classmethod
    def states_of_teacher(cls, config: Config) -> int:
        """Number of states of the teacher's warm-up that the method asks for, from early to best; 1: the best alone.

        Args:
            config: settings of the run, with the method's options.
        """
        return config["kept_states"] or 1

    @classmethod
    def nothing_taught(cls, config: Config) -> str:
        """Say why no role learns from the other; empty where one does. Then no option of the method is read.

        Args:
            config: settings of the run, with the method's options.
        """
        if config["distill_epochs"] == 0:
            return "distill_epochs is 0"
        if any(cls.distillation_terms(config, role) for role in cls.learners):
            return ""
        weights = [f"lambda_{direction}" for role, direction in DIRECTION_INTO.items() if role in cls.learners]
        zero = [name for name in weights if config[name] == 0]
        return f"nothing is taught, as {' and '.join(zero)} {'is' if len(zero) == 1 else 'are'} 0"

    @classmethod
    def not_read(cls, config: Config) -> dict[str, str]:
        """Options that nothing in the run reads, with the reason, beyond what `Read with` declares.

        Args:
            config: settings of the run, with the method's options.
        """
        has_placebo = PLACEBO in config["controls"]
        reason = cls.nothing_taught(config) if has_placebo else "controls does not list placebo"
        unread = {"placebo": reason} if reason else {}
        if len(cls.learners) == 1:
            unread["rest_at_best"] = f"the {cls.learners[0]} alone learns, and the stage ends where it would rest"
        taught = [config.backbones[role] for role in cls.learners if cls.distillation_terms(config, role)]
        if not any(map(is_sequential, taught)):
            reason = "no role that learns from the other is sequential"
            unread |= dict.fromkeys(("exchange_at", "ranks_at", "exchange_history"), reason)
        return unread
