"""How an encoder is made trainable. One file a family; `registry` knows them all."""
