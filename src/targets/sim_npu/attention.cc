// Attention over the cache in DRAM, a tile of positions after the other with a running maximum.
#include <algorithm>

#include "format/npu_commands/npu_access.h"
#include "npu_sim/npu_cost.h"
#include "targets/sim_npu/lowering.h"

namespace cria {
namespace {

// What one block of rows and heads may take of SRAM, in parts of it.
constexpr std::uint64_t kShareOfSram = 3;
constexpr std::uint64_t kFloatBytes = sizeof(float);

// Records go between SRAM and score rows as they are.
static_assert(kNpuRecord == kScoreRecord && kNpuCacheTile == kScorePositions);

}  // namespace

NpuCommand& NpuLowering::emit_heads(NpuCommandKind kind, NpuEngine engine, const PlanOp& op,
                                    const Block& block, const Heads& heads) {
  NpuCommand& command = emit_rows(kind, engine, block, false);
  command.layer = static_cast<std::uint32_t>(op.layer);
  command.first_head = static_cast<std::uint32_t>(heads.first);
  command.n_heads = static_cast<std::uint32_t>(heads.n);
  command.group = static_cast<std::uint32_t>(group_of(op));
  return command;
}

// Few rows leave most of a matrix tile idle: the engine that is done with a full tile of positions
// first.
Result<NpuEngine> NpuLowering::product_engine(const PlanOp& op, const Block& block,
                                              const Heads& heads, bool is_value) {
  NpuCommand command;
  command.kind = is_value ? NpuCommandKind::kMix : NpuCommandKind::kScores;
  command.is_value = is_value;
  command.n_rows = static_cast<std::uint32_t>(block.n);
  command.n_heads = static_cast<std::uint32_t>(heads.n);
  command.group = static_cast<std::uint32_t>(group_of(op));
  // Sizes are counted through operands, which have no place yet: any buffer will do.
  command.x = command.y = command.z = command.out = {0, 0, 0};
  const NpuCosts costs(emitter_.commands(), profile_, 0);
  Picoseconds best = 0;
  NpuEngine chosen = NpuEngine::kVector;
  for (const NpuEngine engine : {NpuEngine::kVector, NpuEngine::kMatrix}) {
    command.engine = engine;
    const Result<NpuCost> cost = costs.of(command, {block.n, kNpuCacheTile});
    if (!cost.ok()) continue;  // the matrix engine has no mode for the cache's type
    const Picoseconds time = cost->fixed_ps + cost->work_ps;
    if (engine == NpuEngine::kVector || time < best) {
      best = time;
      chosen = engine;
    }
  }
  return chosen;
}

// SRAM for two steps of a loop over the cache: tiles of keys and values, and the scores of both.
NpuLowering::Tiles NpuLowering::tiles_of(const PlanOp& op, const Block& block, const Heads& heads) {
  const NpuCache& cache = emitter_.commands().cache;
  const bool records = op.kind != PlanOpKind::kAttention;
  const auto n_states = static_cast<std::uint64_t>(block.n * heads.n * group_of(op));
  Tiles tiles;
  for (std::size_t t = 0; t < 2; ++t) {
    const std::int64_t floats = records ? kNpuRecord : kNpuCacheTile;
    tiles.scores[t].buffer =
        temporary(fmt::format("scores{}", t), n_states * static_cast<std::uint64_t>(floats) * 4);
    for (std::size_t v = 0; v < 2; ++v) {
      if (op.kind == (v == 0 ? PlanOpKind::kMix : PlanOpKind::kScores)) continue;
      tiles.cache[t][v].buffer =
          temporary(fmt::format("{}{}", v == 0 ? "k_tile" : "v_tile", t),
                    static_cast<std::uint64_t>(heads.n) * npu_cache_tile_bytes(cache, v == 1));
    }
  }
  return tiles;
}

NpuCommand& NpuLowering::emit_tile(NpuCommandKind kind, NpuEngine engine, const Step& step,
                                   std::size_t tile, bool is_value) {
  NpuCommand& command = emit_heads(kind, engine, step.op, step.block, step.heads);
  command.tile = static_cast<std::uint32_t>(tile);
  command.is_value = is_value;
  return command;
}

void NpuLowering::score(const Step& step, NpuEngine engine, std::size_t t, const NpuOperand& q) {
  NpuCommand& command = emit_tile(NpuCommandKind::kScores, engine, step, t, false);
  command.scale = step.op.scale;
  command.x = q;
  command.z = step.tiles.cache[t][0];
  command.out = step.tiles.scores[t];
  command.records = step.op.kind == PlanOpKind::kScores;
}

void NpuLowering::mix(const Step& step, NpuEngine engine, std::size_t t, const NpuOperand& state) {
  NpuCommand& command = emit_tile(NpuCommandKind::kMix, engine, step, t, true);
  command.y = step.tiles.scores[t];
  command.z = step.tiles.cache[t][1];
  command.out = state;
  command.records = step.op.kind == PlanOpKind::kMix;
}

// q: null if records have what is to be known of queries.
NpuOperand NpuLowering::begin_attention(const Step& step, const NpuOperand* q) {
  const NpuOperand state{
      temporary(fmt::format("state{}", step.block.parity),
                static_cast<std::uint64_t>(step.block.n * step.heads.n * group_of(step.op)) *
                    npu_state_floats(plan_.kv.head_dim) * 4),
      0, 0};
  NpuCommand& begin =
      emit_heads(NpuCommandKind::kAttendBegin, NpuEngine::kVector, step.op, step.block, step.heads);
  begin.records = q == nullptr;
  if (q != nullptr) {
    begin.x = *q;
    begin.scale = step.op.scale;
  }
  begin.out = state;
  return state;
}

void NpuLowering::end_attention(const Step& step, const NpuOperand& state) {
  const auto [column, width] = columns_of(step.op, step.heads);
  const View out = write(step.op.out, step.block, column, width, "mixed");
  NpuCommand& end =
      emit_heads(NpuCommandKind::kAttendEnd, NpuEngine::kVector, step.op, step.block, step.heads);
  end.x = state;
  end.out = out.operand;
  store(step.op.out, step.block, column, width, out);
}

// Columns of the query heads among all heads, and their width.
std::pair<std::int64_t, std::int64_t> NpuLowering::columns_of(const PlanOp& op,
                                                              const Heads& heads) const {
  const std::int64_t head_columns = group_of(op) * plan_.kv.head_dim;
  return {heads.first * head_columns, heads.n * head_columns};
}

Status NpuLowering::attend(const PlanOp& op, const Block& block, const Heads& heads) {
  const auto [column, width] = columns_of(op, heads);
  CRIA_ASSIGN_OR_RETURN(const NpuEngine score_engine, product_engine(op, block, heads, false));
  CRIA_ASSIGN_OR_RETURN(const NpuEngine mix_engine, product_engine(op, block, heads, true));
  const View q = read(op.x, block, op.column + column, width, "q");
  const Step step{op, block, heads, tiles_of(op, block, heads)};
  const NpuOperand state = begin_attention(step, &q.operand);
  emitter_.begin_loop(static_cast<std::uint32_t>(block.first + block.n));
  for (std::size_t t = 0; t < 2; ++t) {
    for (std::size_t v = 0; v < 2; ++v) {
      emit_tile(NpuCommandKind::kLoadCache, NpuEngine::kDataDma, step, t, v == 1).out =
          step.tiles.cache[t][v];
    }
  }
  // Both tiles side by side, so that one engine works on one while the other works on the other.
  for (std::size_t t = 0; t < 2; ++t) score(step, score_engine, t, q.operand);
  for (std::size_t t = 0; t < 2; ++t) {
    NpuCommand& softmax = emit_tile(NpuCommandKind::kSoftmax, NpuEngine::kVector, step, t, false);
    softmax.x = step.tiles.scores[t];
    softmax.y = state;
    mix(step, mix_engine, t, state);
  }
  emitter_.end_loop();
  end_attention(step, state);
  return {};
}

// Where the records of these rows and heads lie in scratch.
void NpuLowering::set_records(NpuCommand& command, const Step& step,
                              std::uint32_t score_rows) const {
  const PlanBuffer& rows = plan_.buffers[score_rows];
  const std::int64_t head_floats = step.op.block * kScoreRecord;
  command.dram_stride = static_cast<std::uint64_t>(rows.width) * kFloatBytes;
  command.dram_offset = rows.offset_bytes +
                        static_cast<std::uint64_t>(step.block.first) * command.dram_stride +
                        static_cast<std::uint64_t>(own_heads(step.op, step.heads).first *
                                                   group_of(step.op) * head_floats) *
                            kFloatBytes;
  command.n_cols = static_cast<std::uint32_t>(step.heads.n * group_of(step.op) * head_floats);
}

Status NpuLowering::scores(const PlanOp& op, const Block& block, const Heads& heads) {
  const auto [column, width] = columns_of(op, own_heads(op, heads));
  CRIA_ASSIGN_OR_RETURN(const NpuEngine engine, product_engine(op, block, heads, false));
  const View q = read(op.x, block, op.column + column, width, "q");
  const Step step{op, block, heads, tiles_of(op, block, heads)};
  emitter_.begin_loop(static_cast<std::uint32_t>(block.first + block.n));
  for (std::size_t t = 0; t < 2; ++t) {
    emit_tile(NpuCommandKind::kLoadCache, NpuEngine::kDataDma, step, t, false).out =
        step.tiles.cache[t][0];
  }
  for (std::size_t t = 0; t < 2; ++t) {
    score(step, engine, t, q.operand);
    NpuCommand& store =
        emit_tile(NpuCommandKind::kStoreScores, NpuEngine::kDataDma, step, t, false);
    store.x = step.tiles.scores[t];
    set_records(store, step, op.out);
  }
  emitter_.end_loop();
  return {};
}

Status NpuLowering::mixed_values(const PlanOp& op, const Block& block, const Heads& heads) {
  CRIA_ASSIGN_OR_RETURN(const NpuEngine engine, product_engine(op, block, heads, true));
  const Step step{op, block, heads, tiles_of(op, block, heads)};
  const NpuOperand state = begin_attention(step, nullptr);
  emitter_.begin_loop(static_cast<std::uint32_t>(block.first + block.n));
  for (std::size_t t = 0; t < 2; ++t) {
    emit_tile(NpuCommandKind::kLoadCache, NpuEngine::kDataDma, step, t, true).out =
        step.tiles.cache[t][1];
    NpuCommand& load = emit_tile(NpuCommandKind::kLoadScores, NpuEngine::kDataDma, step, t, false);
    load.out = step.tiles.scores[t];
    set_records(load, step, op.x);
  }
  for (std::size_t t = 0; t < 2; ++t) mix(step, engine, t, state);
  emitter_.end_loop();
  end_attention(step, state);
  return {};
}

// The largest block of rows, then of heads, whose tiles, scores and state take a part of SRAM.
Status NpuLowering::attention(const PlanOp& op) {
  const NpuCache& cache = emitter_.commands().cache;
  const std::int64_t group = group_of(op);
  const auto fits = [&](std::int64_t n_heads, std::int64_t n_rows) {
    const auto states = static_cast<std::uint64_t>(n_rows * n_heads * group);
    const std::uint64_t tile_bytes =
        npu_cache_tile_bytes(cache, false) + npu_cache_tile_bytes(cache, true);
    return 2 * static_cast<std::uint64_t>(n_heads) * tile_bytes +
               states * 4 * (2 * kNpuCacheTile + npu_state_floats(cache.head_dim)) <=
           profile_.sram.bytes / kShareOfSram;
  };
  const PlanHeads all = plan_.heads_of(op);
  std::int64_t n_rows = std::min(plan_.max_tokens, room_.block_rows), n_heads = all.n;
  // Tiles are loaded once a block of rows: halve the heads only when rows are few.
  while (!fits(n_heads, n_rows) && (n_rows > 1 || n_heads > 1)) {
    if (n_rows > 8 || n_heads == 1) {
      n_rows = (n_rows + 1) / 2;
    } else {
      n_heads = (n_heads + 1) / 2;
    }
  }
  for (std::int64_t head = 0; head < all.n; head += n_heads) {
    for (const Block& block : blocks(plan_.max_tokens, n_rows)) {
      const Heads heads{all.first + head, std::min<std::int64_t>(n_heads, all.n - head)};
      CRIA_RETURN_IF_ERROR(op.kind == PlanOpKind::kScores ? scores(op, block, heads)
                           : op.kind == PlanOpKind::kMix  ? mixed_values(op, block, heads)
                                                          : attend(op, block, heads));
    }
  }
  return {};
}

}  // namespace cria
