import { writeFileSync } from "node:fs";
import { type GgufTensor, writeGguf } from "./gguf.ts";

export interface TinyModelOptions {
  /** Models of different seeds say different things. Default 1. */
  readonly seed?: number;
  /** Numbers in an embedding, a multiple of 32. Default 32. */
  readonly width?: number;
  /** Tokens that the model was trained on at once, as its file says. Default 2048. */
  readonly contextTokens?: number;
  /** Default {@link chatTemplate}. */
  readonly template?: string;
}

const layers = 2;
const heads = 2;
const feedForward = 64;

/** The conversation as `role: text` lines, then `assistant:`. */
const chatTemplate =
  "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";

/**
 * Writes a model file of the llama architecture that loads and runs as any other, and talks nonsense: its weights are random. Its
 * tokens are single characters of ASCII, a few words, and bytes for the rest.
 */
export function writeTinyModel(path: string, options: TinyModelOptions = {}): void {
  const { seed = 1, width = 32, contextTokens = 2_048, template = chatTemplate } = options;
  const vocabulary = tinyVocabulary();
  writeFileSync(
    path,
    writeGguf(
      {
        "general.architecture": { text: "llama" },
        "general.name": { text: `tiny ${seed}` },
        "general.file_type": { uint32: 0 },
        "llama.vocab_size": { uint32: vocabulary.length },
        "llama.context_length": { uint32: contextTokens },
        "llama.embedding_length": { uint32: width },
        "llama.block_count": { uint32: layers },
        "llama.feed_forward_length": { uint32: feedForward },
        "llama.rope.dimension_count": { uint32: width / heads },
        "llama.attention.head_count": { uint32: heads },
        "llama.attention.head_count_kv": { uint32: heads },
        "llama.attention.layer_norm_rms_epsilon": { float32: 1e-5 },
        "tokenizer.ggml.model": { text: "llama" },
        "tokenizer.ggml.tokens": { texts: vocabulary.map(({ piece }) => piece) },
        "tokenizer.ggml.scores": { floats: vocabulary.map(({ score }) => score) },
        "tokenizer.ggml.token_type": { integers: vocabulary.map(({ type }) => type) },
        "tokenizer.ggml.bos_token_id": { uint32: 1 },
        "tokenizer.ggml.eos_token_id": { uint32: 2 },
        "tokenizer.ggml.unknown_token_id": { uint32: 0 },
        "tokenizer.ggml.add_bos_token": { boolean: true },
        "tokenizer.ggml.add_space_prefix": { boolean: false },
        "tokenizer.chat_template": { text: template },
      },
      tinyTensors(width, vocabulary.length, randomFrom(seed)),
    ),
  );
}

interface Piece {
  readonly piece: string;
  readonly score: number;
  readonly type: number;
}

// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer
const tokenTypes = { normal: 1, unknown: 2, control: 3, byte: 6 } as const;

function tinyVocabulary(): Piece[] {
  const special = (piece: string, type: number): Piece => ({ piece, score: 0, type });
  const bytes = Array.from({ length: 256 }, (_, byte): Piece => {
    return { piece: `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`, score: 0, type: tokenTypes.byte };
  });
  const printable = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index).replace(" ", "▁"));
  const words = ["he", "hel", "hell", "hello", "th", "the"];
  const normal = [...printable, ...words].map((piece, index): Piece => {
    // Longer pieces first, as a trained vocabulary would have it.
    return { piece, score: piece.length > 1 ? piece.length : -1 - index, type: tokenTypes.normal };
  });
  return [
    special("<unk>", tokenTypes.unknown),
    special("<s>", tokenTypes.control),
    special("</s>", tokenTypes.control),
    ...bytes,
    ...normal,
  ];
}

function tinyTensors(width: number, vocabulary: number, random: () => number): GgufTensor[] {
  const matrix = (name: string, rows: number, columns: number): GgufTensor => ({
    name,
    shape: [rows, columns],
    values: Float32Array.from({ length: rows * columns }, () => (random() * 2 - 1) / Math.sqrt(rows)),
  });
  const ones = (name: string): GgufTensor => ({ name, shape: [width], values: new Float32Array(width).fill(1) });
  const blocks = Array.from({ length: layers }, (_, layer) => [
    ones(`blk.${layer}.attn_norm.weight`),
    ...["attn_q", "attn_k", "attn_v", "attn_output"].map((part) => matrix(`blk.${layer}.${part}.weight`, width, width)),
    ones(`blk.${layer}.ffn_norm.weight`),
    matrix(`blk.${layer}.ffn_gate.weight`, width, feedForward),
    matrix(`blk.${layer}.ffn_up.weight`, width, feedForward),
    matrix(`blk.${layer}.ffn_down.weight`, feedForward, width),
  ]);
  return [
    matrix("token_embd.weight", width, vocabulary),
    ...blocks.flat(),
    ones("output_norm.weight"),
    matrix("output.weight", width, vocabulary),
  ];
}

/** Numbers from 0 to 1, always the same ones for a seed. https://gist.github.com/tommyettinger/46a874533244883189143505d203312c */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}
