"""Posts what failed tasks lacked to Gapferry, so that the next export brings it.

Put this file into `callback_plugins/` beside the playbook and say where Gapferry is:

    GAPFERRY_URL=http://admin-node:8080 \
    ANSIBLE_CALLBACKS_ENABLED=gapferry_wants ansible-playbook cluster.yml

It never fails a play. Of a failed task only its messages and its URL are sent, and nothing of a
task with `no_log`. What the messages mean is decided by the server.
"""

from __future__ import annotations

import json
import os
import ssl
import urllib.parse
import urllib.request

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: gapferry_wants
type: notification
short_description: posts what failed package, URL and image tasks lacked to Gapferry
description:
  - Posts the messages of failed package, URL and image tasks to C(/wants) of a Gapferry inside.
requirements:
  - enable it in C(callbacks_enabled)
options:
  url:
    description: Where Gapferry is, C(http://admin-node:8080); user and password may stand in it.
    env: [{name: GAPFERRY_URL}]
    ini: [{section: gapferry_wants, key: url}]
    default: ""
  ca:
    description: PEM file of the authority that signed Gapferry's certificate.
    env: [{name: GAPFERRY_CA}]
    ini: [{section: gapferry_wants, key: ca}]
    default: ""
"""

# Modules that fetch packages, files, charts and images; commands, since images are pulled by them.
MODULES = {
    "apt", "dnf", "dnf5", "yum", "package", "zypper", "pip", "uv",
    "get_url", "uri", "unarchive", "apt_key", "apt_repository", "yum_repository", "rpm_key",
    "helm", "helm_pull", "helm_template",
    "docker_image", "docker_image_pull", "docker_container", "podman_image", "podman_container",
    "command", "shell", "raw",
}

# What of a result says what is missing.
FIELDS = ("msg", "stderr", "stdout", "failures", "response", "url", "status_code", "status")

# The server takes 64 KiB; in a form a character may need six bytes.
TEXT_LEN_MAX = 2000
TIMEOUT_SECONDS = 5


def short(value):
    """The end of a text, where programs say why they ended."""
    if isinstance(value, list):
        value = "\n".join(one for one in value if isinstance(one, str))
    return value[-TEXT_LEN_MAX:] if isinstance(value, str) else value


def message(host, result):
    """What a failed task said, as Ansible prints it."""
    said = {name: short(result[name]) for name in FIELDS if result.get(name)}
    return "fatal: [%s]: FAILED! => %s" % (host, json.dumps(said, default=str))


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "gapferry_wants"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self.url = ""
        self.ca = ""
        self.posted = set()

    def set_options(self, task_keys=None, var_options=None, direct=None):
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)
        self.url = (self.get_option("url") or os.environ.get("GAPFERRY_URL", "")).rstrip("/")
        self.ca = self.get_option("ca") or ""
        if not self.url:
            self._display.warning("gapferry_wants: set GAPFERRY_URL to post what is missing")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._failed(result)

    def v2_runner_item_on_failed(self, result):
        self._failed(result)

    def _failed(self, result):
        task, said = result._task, result._result
        module = task.action.rsplit(".", 1)[-1]
        if not self.url or module not in MODULES or task.no_log or "censored" in said:
            return
        host = result._host.get_name()
        text = message(host, said)
        if text in self.posted:
            return
        self.posted.add(text)
        try:
            self._post({"message": text, "client": host})
        except Exception as error:  # a play never fails for it
            self._display.warning("gapferry_wants: cannot post to Gapferry: %s" % error)

    def _post(self, form):
        address = urllib.parse.urlsplit(self.url)
        place = address._replace(netloc=address.netloc.rsplit("@", 1)[-1], path=address.path + "/wants")
        # No proxy stands between a playbook and its own site.
        handlers = [urllib.request.ProxyHandler({}), _KeepAnswer()]
        if address.scheme == "https":
            context = ssl.create_default_context(cafile=self.ca or None)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        if address.username:
            passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
            user, word = (urllib.parse.unquote(part or "") for part in (address.username, address.password))
            passwords.add_password(None, place.geturl(), user, word, is_authenticated=True)
            handlers.append(urllib.request.HTTPBasicAuthHandler(passwords))
        opener = urllib.request.build_opener(*handlers)
        body = urllib.parse.urlencode(form).encode()
        with opener.open(place.geturl(), body, timeout=TIMEOUT_SECONDS) as answer:
            answer.read(1024)


class _KeepAnswer(urllib.request.HTTPRedirectHandler):
    """The server answers with the page that people go on to; nothing is there for a script."""

    def http_error_303(self, request, answer, code, words, headers):
        return answer
