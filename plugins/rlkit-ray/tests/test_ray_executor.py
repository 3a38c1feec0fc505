"""The executor of Ray keeps the contract of all executors."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import venv

import numpy as np
import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

from driver_programs import eventually  # noqa: E402

from rlkit_core.errors import ActorError  # noqa: E402
from rlkit_core.execution import make_executor  # noqa: E402
from rlkit_core.execution.conformance import ExecutorContract, PickyError, Probe  # noqa: E402
from rlkit_core.execution.same_plugins import workers_use  # noqa: E402
from rlkit_core.plugins.used.lock import Lock, Used  # noqa: E402
from rlkit_ray import RayExecutor  # noqa: E402
from rlkit_ray import cluster as cluster_of_ray  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init("local", num_cpus=2, object_store_memory=200_000_000, include_dashboard=False)
    yield
    ray.shutdown()


class TestRay(ExecutorContract):
    def make_executor(self):
        return RayExecutor()


def test_it_is_found_by_its_name():
    with make_executor("ray") as executor:
        assert executor.spawn(complex, 1, 2).call("conjugate").result(60) == 1 - 2j


def test_a_connection_of_somebody_else_is_left():
    with RayExecutor() as executor:
        executor.spawn(Probe).ready.result(60)
    assert ray.is_initialized()


def test_an_actor_that_is_killed_fails_all_its_calls():
    with RayExecutor() as executor:
        actor = executor.spawn(Probe)
        pid = actor.call(lambda _: os.getpid()).result(60)
        futures = [actor.call("sleep", 100), actor.call("add")]
        os.kill(pid, signal.SIGKILL)
        for future in futures:
            assert isinstance(future.exception(60), ActorError)
        assert not actor.alive
        assert f"process {pid}" in str(actor.call("add").exception())
        assert executor.restart(actor).call("add").result(60) == 1


def test_large_arrays_are_used_where_ray_has_put_them():
    with RayExecutor() as executor:
        actor = executor.spawn(Probe)
        place = executor.published()
        place.publish(1, {"w": np.ones(1_000_000)})
        back = actor.call("echo", np.ones(1_000_000)).result(60)
        for array in (back, place.read()[1]["w"]):
            base = array
            while isinstance(base, np.ndarray):
                base = base.base
            assert type(base).__name__ == "_InPlace"
        back += 1
        assert back.sum() == 2_000_000

        def change(probe, array):
            array *= 3
            return float(array.sum())

        assert actor.call(change, back).result(60) == 6_000_000
        assert back.sum() == 2_000_000


def test_without_room_it_says_what_is_wanted_and_what_is_there():
    with RayExecutor(runner_options={"num_cpus": 64}, start_timeout=1.0) as executor:
        actor = executor.spawn(Probe)
        text = str(actor.ready.exception(60))
        assert "{'num_cpus': 64}" in text
        assert "'CPU': 2" in text
        assert not actor.alive


def test_calls_that_wait_for_a_constructor_that_fails_say_what_it_raised():
    with RayExecutor() as executor:
        actor = executor.spawn(Probe, -1)
        early = [actor.call("add") for _ in range(3)]
        assert {type(future.exception(60)) for future in early} == {PickyError}
        assert not actor.alive


def test_nothing_of_a_run_stays_in_a_cluster_that_is_somebody_elses():
    with RayExecutor() as executor:
        pids = [executor.spawn(Probe).call(lambda _: os.getpid()).result(60) for _ in range(2)]
        executor.published().publish(1, {"w": np.ones(3)})
        pids.append(ray.get(executor._board.__ray_call__.remote(lambda _: os.getpid())))
    assert eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), 60.0)


def test_a_version_that_differs_shows_the_line_that_mends_it():
    with RayExecutor() as executor, workers_use(Lock([Used("library", "numpy", "numpy", "0.1")])):
        text = str(executor.spawn(Probe).ready.exception(60))
    assert "actor Probe was not made" in text
    assert f"numpy 0.1 is {np.__version__} here: pip install numpy==0.1" in text


def test_a_driver_that_is_killed_leaves_nothing_in_a_cluster_that_is_somebody_elses(driver):
    process = driver.start(
        """
        import os, time
        import ray
        from rlkit_ray import RayExecutor
        executor = RayExecutor()
        actor = executor.spawn(dict)
        executor.published().publish(1, {})
        board = executor._board.__ray_call__.remote(lambda _: os.getpid())
        print(actor.call(lambda _: os.getpid()).result(100), ray.get(board), flush=True)
        time.sleep(1000)
        """,
        RAY_ADDRESS=ray.get_runtime_context().gcs_address,
    )
    pids = process.stdout.readline().split()
    process.kill()
    assert len(pids) == 2
    assert eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), 60.0)


def test_an_address_that_nobody_answers(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ActorError, match=rf"address='127.0.0.1:{port}'.: nobody answers there .*ray start --head"):
        RayExecutor(address=f"127.0.0.1:{port}").spawn(Probe)
    monkeypatch.setenv("RAY_ADDRESS", "here")
    with pytest.raises(ActorError, match=r"RAY_ADDRESS=here: expected 'host:port'"):
        RayExecutor().spawn(Probe)


def test_a_port_where_somebody_else_answers_is_not_waited_for(monkeypatch, caplog):
    """To join through such a port takes Ray for ever, and so it does where the latest cluster here is just ending."""
    monkeypatch.setattr(cluster_of_ray, "HEALTH_S", 8.0)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ActorError, match=r"no Ray cluster that this process can join: no answer .*8 s; .*port"):
            RayExecutor(address=address).spawn(Probe)
        monkeypatch.setattr(cluster_of_ray, "_latest", lambda: address)
        with pytest.raises(ActorError, match=r"address='auto'.*the latest one here, does not answer: no answer within"):
            RayExecutor(address="auto").spawn(Probe)
        asked = []
        monkeypatch.setattr(ray, "init", lambda **kwargs: asked.append(kwargs["address"]))
        cluster_of_ray._connect(None)
    assert asked == ["local"]
    assert f"the one at {address} does not answer" in caplog.text


def test_a_cluster_with_another_token(driver):
    if os.environ.get("RAY_AUTH_MODE") != "token":
        pytest.skip("this version of Ray starts clusters without a token")
    address = ray.get_runtime_context().gcs_address
    said = driver.run(
        f"from rlkit_ray import RayExecutor; RayExecutor(address={address!r}).spawn(dict)",
        code=1,
        RAY_AUTH_TOKEN="another" * 6,
    )
    assert f"ActorError: execution(address={address!r}): " in said
    assert "can join" in said
    assert "the cluster's token" in said


def test_another_cluster_than_the_one_that_is_connected():
    with pytest.raises(ActorError, match=r"connected to the Ray cluster at .*ray.shutdown\(\)"):
        RayExecutor(address="127.0.0.1:1").spawn(Probe)


@pytest.fixture
def other_ray(tmp_path):
    """The command of another version of Ray, in an environment of its own."""
    venv.create(tmp_path / "other", with_pip=True)
    install = ["-m", "pip", "install", "--quiet", "ray==2.49.*"]
    if subprocess.run([tmp_path / "other" / "bin" / "python", *install], check=False).returncode:
        pytest.skip("no index here has Ray 2.49 for this Python")
    return tmp_path / "other" / "bin" / "ray"


def test_another_version_of_ray(driver, other_ray):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    how = f"--head --block --port={port} --num-cpus=1 --object-store-memory=100000000 --include-dashboard=false"
    cluster = subprocess.Popen([other_ray, "start", *how.split()], stdout=subprocess.DEVNULL)
    try:
        said = driver.run(
            f"""
            import socket, time
            from rlkit_ray import RayExecutor
            while socket.socket().connect_ex(("127.0.0.1", {port})):
                time.sleep(0.1)
            time.sleep(5)
            RayExecutor(address="127.0.0.1:{port}").spawn(dict)
            """,
            code=1,
        )
    finally:
        cluster.terminate()  # and it ends what it has started
        cluster.wait()
    assert "This process on node" in said
    assert "install the cluster's versions of Ray and Python here, or these on every node" in said
