"""Names of roles, of the directions between them, and of arms. Readers of runs import this without torch."""

TEACHER = "teacher"
STUDENT = "student"
PAIR = (TEACHER, STUDENT)
# The only role of a baseline: a RecBole model trained alone, with the settings its backbone has as a teacher.
BASELINE = "model"
# Every role a record may hold, in the order of tables.
ROLES = (TEACHER, STUDENT, BASELINE)

# The direction in which each role learns.
DIRECTION_INTO = {STUDENT: "teacher_to_student", TEACHER: "student_to_teacher"}

# Trained alone by RecBole's Trainer: the warm-up, from whose states the next three start.
SEPARATE = "separate"
# Trained on without the distillation term: the control.
CONTINUED = "continued"
# Trained on with it, but with a placebo in the place of the other role's knowledge: a second control.
PLACEBO = "placebo"
# Trained on with it.
DISTILLED = "distilled"
ARMS = (SEPARATE, CONTINUED, PLACEBO, DISTILLED)
# Stands for the arm in warnings of the data; their role is the part: train, valid or test.
DATA = "data"
