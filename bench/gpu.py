"""What a graphics card reaches: the network on data that lies there, from derivatives, and from large JPEG files.

    python -m bench.gpu [--quick] [--json FILE] [--device cuda] [--bundle FOLDER] [--seconds 50]

Needs neither database nor Redis. The measuring itself is in bench/gpu_run.py: processes that only decode import this
module again, and must not pay for torch.
"""

if __name__ == "__main__":
    from bench.gpu_run import main

    main()
