"""Plain data -> answers: the plan, its kernels' blocks, inputs and outputs."""
