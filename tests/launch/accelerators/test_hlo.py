"""Reading compiled programs: messages and products of hand-made texts, and of a program compiled here."""

import jax
import jax.numpy as jnp
import pytest

from launch.accelerators.hlo import read_program

# As XLA writes them for GPUs: a loop of 3 with a gather and a product, a reduce-scatter, an all-reduce.
GPU = """
HloModule jit_step, is_scheduled=true, num_partitions=4

%sum (x: bf16[], y: bf16[]) -> bf16[] {
  %x = bf16[] parameter(0)
  ROOT %add = bf16[] add(%x, %x)
}

%fused (p0: bf16[8,64], p1: bf16[64,32]) -> bf16[8,32] {
  %p0 = bf16[8,64]{1,0} parameter(0)
  %p1 = bf16[64,32]{1,0} parameter(1)
  ROOT %dot.1 = bf16[8,32]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (state: (s32[], bf16[16,32], bf16[8,64])) -> (s32[], bf16[16,32], bf16[8,64]) {
  %state = (s32[], bf16[16,32]{1,0}, /*index=2*/bf16[8,64]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %w = bf16[16,32]{1,0} get-tuple-element(%state), index=1
  %h = bf16[8,64]{1,0} get-tuple-element(%state), index=2
  %all-gather-start = (bf16[16,32]{1,0}, bf16[64,32]{1,0}) all-gather-start(%w), channel_id=1, \
replica_groups=mesh['a'=4,'b'=1] {'a'}, dimensions={0}
  %all-gather-done = bf16[64,32]{1,0} all-gather-done(%all-gather-start)
  %y = bf16[8,32]{1,0} fusion(%h, %all-gather-done), kind=kCustom, calls=%fused
  %reduce-scatter-start = ((bf16[64,32]{1,0}), bf16[16,32]{1,0}) reduce-scatter-start(%all-gather-done), \
replica_groups=[1,4]<=[4], dimensions={0}, to_apply=%sum
  %z = bf16[8,32]{1,0} fusion(%h, %all-gather-done), kind=kCustom, calls=%fused
  %reduce-scatter-done = bf16[16,32]{1,0} reduce-scatter-done(%reduce-scatter-start)
  %one = s32[] constant(1)
  %i.1 = s32[] add(%i, %one)
  %i.2 = s32[] add(%one, %i.1)
  ROOT %next = (s32[], bf16[16,32]{1,0}, bf16[8,64]{1,0}) tuple(%i.1, %reduce-scatter-done, %h)
}

%condition (state: (s32[], bf16[16,32], bf16[8,64])) -> pred[] {
  %state = (s32[], bf16[16,32]{1,0}, bf16[8,64]{1,0}) parameter(0)
  %limit = s32[] constant(3)
  %i = s32[] get-tuple-element(%state), index=0
  ROOT %less = pred[] compare(%i, %limit), direction=LT
}

ENTRY %main (w: bf16[16,32], h: bf16[8,64], g: f32[10]) -> f32[10] {
  %w = bf16[16,32]{1,0} parameter(0)
  %h = bf16[8,64]{1,0} parameter(1)
  %g = f32[10]{0} parameter(2)
  %zero = s32[] constant(0)
  %first = (s32[], bf16[16,32]{1,0}, bf16[8,64]{1,0}) tuple(%zero, %w, %h)
  %loop = (s32[], bf16[16,32]{1,0}, bf16[8,64]{1,0}) while(%first), condition=%condition, body=%body LOOP
  ROOT %all-reduce = f32[10]{0} all-reduce(%g), replica_groups=[2,2]<=[2,2]T(1,0), to_apply=%sum
}
"""
KNOWN = ', backend_config={"known_trip_count":{"n":"3"}}'


# TPUs' programs do not say how often a loop runs, and do two rounds in one.
PLAIN = GPU.replace(" LOOP", "")
TWO_IN_ONE = PLAIN.replace("tuple(%i.1", "tuple(%i.2").replace("constant(3)", "constant(6)")


@pytest.mark.parametrize("text", [GPU.replace(" LOOP", KNOWN), PLAIN, TWO_IN_ONE])
def test_what_a_loop_sends_and_multiplies_counts_as_often_as_it_runs(text):
    program = read_program(text)
    assert program.flops == 3 * 2 * (2 * 8 * 64 * 32)
    by_kind = {one.kind: one for one in program.collectives}
    assert len(by_kind) == len(program.collectives)
    gather, scatter, reduce = (by_kind[kind] for kind in ("all-gather", "reduce-scatter", "all-reduce"))
    # Each of 4 devices puts in 16 x 32 numbers of two bytes, which go to 3 others.
    assert (gather.times, gather.n_bytes, gather.sent) == (3, 1024, 3 * 1024)
    assert (scatter.times, scatter.n_bytes, scatter.sent) == (3, 4096, 3072)
    assert (reduce.times, reduce.n_bytes, reduce.sent) == (1, 40, 2 * 40 / 2)
    assert gather.dtypes == {"bf16"} and reduce.dtypes == {"f32"}
    assert gather.group == scatter.group == (0, 1, 2, 3) and reduce.group == (0, 2)
    # A product stands between beginning and end of the scattering, nothing does within the gathering.
    assert (gather.overlapped, scatter.overlapped, reduce.overlapped) == (False, True, None)


# As XLA writes them for TPUs: a gather that three fusions name, a product as a convolution.
TPU = """
HloModule jit_step, is_scheduled=true

%begin (p: bf16[2,8]) -> (bf16[2,8], bf16[8,8]) {
  %p = bf16[2,8]{1,0:T(8,128)(2,1)} parameter(0)
  %gather.1 = bf16[8,8]{1,0:T(8,128)(2,1)} all-gather(%p), replica_groups={{0,1,2,3}}, dimensions={0}
  ROOT %c.1 = (bf16[2,8]{1,0}, bf16[8,8]{1,0}) custom-call(%gather.1), \
custom_call_target="AsyncCollectiveStart"
}

%async_collective_fusion.7 (p: bf16[2,8], x: bf16[4,16,8], y: bf16[1,8,32]) -> bf16[4,16,32] {
  %p = bf16[2,8]{1,0} parameter(0)
  %gather.2 = bf16[8,8]{1,0} all-gather(%p), replica_groups={{0,1,2,3}}, dimensions={0}
  %x = bf16[4,16,8]{2,1,0} parameter(1)
  %y = bf16[1,8,32]{2,1,0} parameter(2)
  ROOT %product = bf16[4,16,32]{2,1,0} convolution(%x, %y), window={size=1}, dim_labels=0bf_0io->0bf
}

%end (p: bf16[2,8]) -> bf16[8,8] {
  %p = bf16[2,8]{1,0} parameter(0)
  %gather.3 = bf16[8,8]{1,0} all-gather(%p), replica_groups={{0,1,2,3}}, dimensions={0}
  ROOT %c.3 = bf16[8,8]{1,0} custom-call(%p, %gather.3), custom_call_target="AsyncCollectiveDone"
}

ENTRY %main (p: bf16[2,8], x: bf16[4,16,8], y: bf16[1,8,32], q: bf16[1,2,256,64]) -> bf16[4,16,32] {
  %p = bf16[2,8]{1,0} parameter(0)
  %x = bf16[4,16,8]{2,1,0} parameter(1)
  %y = bf16[1,8,32]{2,1,0} parameter(2)
  %q = bf16[1,2,256,64]{3,2,1,0} parameter(3)
  %b = (bf16[2,8]{1,0}, bf16[8,8]{1,0}) fusion(%p), kind=kCustom, calls=%begin
  %splash_mha_fwd_residuals.2 = bf16[1,2,256,64]{3,2,1,0} custom-call(%q, %q, %q), \
custom_call_target="tpu_custom_call"
  %product = bf16[4,16,32]{2,1,0} fusion(%p, %x, %y), kind=kCustom, calls=%async_collective_fusion.7
  %e = bf16[8,8]{1,0} fusion(%p), kind=kCustom, calls=%end
  ROOT %copy = bf16[4,16,32]{2,1,0} copy(%product)
}
"""


@pytest.mark.parametrize("one_row", ["bf16[1,2,256,64]{3,2,1,0}", "bf16[2,256,64]{2,1,0}"])
def test_a_tpus_message_counts_once_and_its_kernels_by_their_names(one_row):
    program = read_program(TPU.replace("bf16[1,2,256,64]{3,2,1,0}", one_row))
    (gather,) = program.collectives
    assert (gather.times, gather.sent, gather.overlapped) == (1, 3 * 32, True)
    attention = 2 * (2.0 * 1 * 2 * 256 * 256 * 64)  # scores and values
    assert program.flops == 2 * 4 * 16 * 8 * 32 + attention and program.attention_kernels == 1


def test_products_of_a_compiled_scan_are_those_written():
    def layers(x, w_LDD):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w_LDD)[0]

    shapes = jax.ShapeDtypeStruct((8, 16), jnp.float32), jax.ShapeDtypeStruct((5, 16, 16), jnp.float32)
    program = read_program(jax.jit(layers).lower(*shapes).compile().as_text())
    assert program.flops == 5 * 2 * 8 * 16 * 16 and not program.collectives


def test_other_texts_are_refused():
    with pytest.raises(ValueError, match="ENTRY"):
        read_program("module @jit_step {}")
