"""An executor of a third party: actors in threads of this process, which run beside each other."""

from __future__ import annotations

import concurrent.futures
from concurrent.futures import Future, ThreadPoolExecutor

from rlkit_core.errors import ActorError
from rlkit_core.execution import LocalPublished


class ThreadActor:
    def __init__(self, factory, args, kwargs):
        self.recipe = (factory, args, kwargs)
        self.alive, self._instance = True, None
        self._thread = ThreadPoolExecutor(1)
        self.ready = self._thread.submit(self._make)

    def _make(self):
        factory, args, kwargs = self.recipe
        self._instance = factory(*args, **kwargs)

    def call(self, method, /, *args, **kwargs):
        if self.alive:
            return self._thread.submit(self._run, method, args, kwargs)
        future = Future()
        future.set_exception(ActorError("the actor was stopped"))
        return future

    def _run(self, method, args, kwargs):
        self.ready.result()
        if callable(method):
            return method(self._instance, *args, **kwargs)
        return getattr(self._instance, method)(*args, **kwargs)

    def stop(self):
        if self.alive:
            self.alive = False
            stop = getattr(self._instance, "stop", None)
            if stop is not None:
                self._thread.submit(stop)
            self._thread.shutdown()


class ThreadExecutor:
    in_process = True
    concurrent = True

    def __init__(self):
        self.threads = None
        self._actors = []

    def spawn(self, factory, /, *args, **kwargs):
        self._actors.append(ThreadActor(factory, args, kwargs))
        return self._actors[-1]

    def published(self):
        return LocalPublished()

    def wait(self, futures, *, timeout=None):
        done, _ = concurrent.futures.wait(futures, timeout, concurrent.futures.FIRST_COMPLETED)
        return [f for f in futures if f in done], [f for f in futures if f not in done]

    def restart(self, handle):
        handle.stop()
        factory, args, kwargs = handle.recipe
        return self.spawn(factory, *args, **kwargs)

    def stop(self, handle=None):
        for actor in self._actors if handle is None else [handle]:
            actor.stop()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
