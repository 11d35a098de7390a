"""PEFT methods: how an encoder is made trainable. One file per family; `registry` lists them all."""
