"""A simulated NVML: a real `libnvidia-ml.so.1` that plays a scripted scenario to whoever loads it.

`scenario.py` describes cards and writes the scenario file; `library.py` compiles the C files with gcc and gives the
environment under which a process finds the library. Any process started so reads the cards through the real pynvml.

    scenario = two_cards(epoch=time.time()).with_card(0, lost_at_s=3.0)
    path = scenario.write(tmp_path / "cards.scenario")
    subprocess.run(command, env={**os.environ, **environment(nvml_library, path)})
"""
