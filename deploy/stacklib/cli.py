"""The command line of deploy/stack: arguments in, one line out for everything that happens."""

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path

from stack import SERVICES, Settings, Stack, StackError

DIR_DEFAULT = Path(__file__).resolve().parents[2] / "build" / "stack"

DESCRIPTION = """\
A private stack on the loopback: Apache Kafka, MariaDB and Redis, with their data in one folder.
"""

EXAMPLES = """\
examples:
  deploy/stack start                              all three, at ports 19092, 13306 and 16379
  deploy/stack topic balance-events 8
  eval "$(deploy/stack env)"                      now ledgerd finds them without a configuration
  deploy/stack kill mysql; deploy/stack start mysql
  deploy/stack start --dir /tmp/two --port-base 20000 --cache build/stack/cache
  deploy/stack kafka-tool GetOffsetShell --bootstrap-server 127.0.0.1:19092
"""

COMMANDS = (
    ("start", "start what does not run; returns when all answer"),
    ("stop", "stop in good order"),
    ("restart", "stop and start"),
    ("kill", "SIGKILL, as a crash would"),
    ("pause", "SIGSTOP: alive, but silent"),
    ("resume", "SIGCONT"),
    ("status", "what runs, where; exit status 1 unless all answer"),
)


def main(argv=None):
    args = parser().parse_args(argv)
    try:
        stack = Stack(args.dir, say=say, **chosen_settings(args))
        return args.run(stack, args) or 0
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stack: interrupted; `deploy/stack stop` ends what runs", file=sys.stderr)
        return 130


def say(line):
    sys.stderr.write(f"{line}\n")  # in one piece: the servers start in parallel


# Commands.

def run_action(stack, args):
    getattr(stack, args.command)(*args.services)


def run_status(stack, args):
    chosen = stack.chosen(args.services)
    print(f"{'service':<8} {'state':<8} {'pid':>8}  {'address':<16} log")
    states = [print_state(service) for service in chosen]
    return 0 if set(states) == {"running"} else 1


def print_state(service):
    state = service.state
    log = service.log if service.log.exists() else "-"
    print(f"{service.name:<8} {state:<8} {service.pid or '-':>8}  {service.address:<16} {log}")
    return state


def run_env(stack, _args):
    print("\n".join(stack.shell_assignments()))


def run_topic(stack, args):
    made = stack.kafka.create_topic(args.name, args.partitions, dict(args.configs))
    say(f"kafka  topic {args.name}, {args.partitions} partitions: "
        f"{'created' if made else 'exists already'}")


def run_tool(stack, args):
    return stack.kafka.tool(args.main_class, *args.args).returncode


# Arguments.

def parser():
    top = argparse.ArgumentParser(prog="deploy/stack", description=DESCRIPTION, epilog=EXAMPLES,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--dir", default=os.environ.get("STACK_DIR", DIR_DEFAULT),
                     help="the stack's folder; default: $STACK_DIR, or build/stack in the sources")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS:
        add_service_command(commands, name, text)
    add_topic(commands)
    add_tool(commands)
    add_command(commands, "env", "print shell assignments that lead ledgerd to the stack", run_env)
    return top


def add_command(commands, name, text, run):
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument("--dir", default=argparse.SUPPRESS, help="the stack's folder")
    command.set_defaults(run=run)
    return command


def add_service_command(commands, name, text):
    command = add_command(commands, name, text, run_status if name == "status" else run_action)
    names = [cls.name for cls in SERVICES]
    command.add_argument("services", nargs="*", metavar="SERVICE",
                         help=f"{', '.join(names)}; default: all")
    if name in ("start", "restart"):
        for setting in fields(Settings):
            add_setting(command, setting)


def add_setting(command, setting):
    """An option for a setting; one that is not given leaves what the stack has."""
    flag = "--" + setting.name.replace("_", "-")
    how = {"default": None, "help": setting.metadata["help"]}
    if setting.type is bool:
        how |= {"action": argparse.BooleanOptionalAction}
    elif setting.type is dict:
        flag = flag.removesuffix("s")
        how |= {"dest": setting.name, "metavar": "K=V", "action": "append", "type": pair}
    else:
        how |= {"type": setting.type, "metavar": setting.metadata["metavar"]}
    command.add_argument(flag, **how)


def add_topic(commands):
    text = "create a topic and wait until it can be used; nothing if it is there"
    command = add_command(commands, "topic", text, run_topic)
    command.add_argument("name", metavar="NAME")
    command.add_argument("partitions", metavar="PARTITIONS", type=int)
    command.add_argument("configs", metavar="K=V", nargs="*", type=pair, help="its configuration")


def add_tool(commands):
    text = "run one of Kafka's command-line classes, such as TopicCommand, with its arguments"
    command = add_command(commands, "kafka-tool", text, run_tool)
    command.add_argument("main_class", metavar="CLASS",
                         help="in full, or as below org.apache.kafka.tools")
    command.add_argument("args", metavar="ARG", nargs=argparse.REMAINDER)


def pair(text):
    name, _, value = text.partition("=")
    return name, value


def chosen_settings(args):
    """The settings that were given on the command line."""
    given = {one.name: getattr(args, one.name, None) for one in fields(Settings)}
    return {name: dict(item for item in value if item[0]) if isinstance(value, list) else value
            for name, value in given.items()}
