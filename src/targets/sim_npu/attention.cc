// Attention over the cache in DRAM, a tile of positions after the other with a running maximum.
#include <algorithm>

#include "format/npu_commands/npu_access.h"
#include "npu_sim/npu_cost.h"
#include "targets/sim_npu/lowering.h"

namespace cria {
namespace {

// What one block of rows and heads may take of SRAM, in parts of it.
constexpr std::uint64_t kShareOfSram = 3;

}  // namespace

NpuCommand& NpuLowering::emit_heads(NpuCommandKind kind, NpuEngine engine, const PlanOp& op,
                                    const Block& block, const Heads& heads) {
  NpuCommand& command = emit_rows(kind, engine, block, false);
  command.layer = static_cast<std::uint32_t>(op.layer);
  command.first_head = static_cast<std::uint32_t>(heads.first);
  command.n_heads = static_cast<std::uint32_t>(heads.n);
  command.group = static_cast<std::uint32_t>(op.n_heads / plan_.kv.n_kv_heads);
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
  command.group = static_cast<std::uint32_t>(op.n_heads / plan_.kv.n_kv_heads);
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

Status NpuLowering::attend(const PlanOp& op, const Block& block, const Heads& heads) {
  const NpuCache& cache = emitter_.commands().cache;
  const std::int64_t group = op.n_heads / cache.n_kv_heads;
  const std::int64_t width = heads.n * group * cache.head_dim,
                     column = heads.first * group * cache.head_dim;
  const auto n_states = static_cast<std::uint64_t>(block.n * heads.n * group);
  CRIA_ASSIGN_OR_RETURN(const NpuEngine score_engine, product_engine(op, block, heads, false));
  CRIA_ASSIGN_OR_RETURN(const NpuEngine mix_engine, product_engine(op, block, heads, true));
  const View q = read(op.x, block, op.column + column, width, "q");
  const NpuOperand state{temporary(fmt::format("state{}", block.parity),
                                   n_states * npu_state_floats(cache.head_dim) * 4),
                         0, 0};
  NpuOperand tile[2][2], scores[2];
  for (std::size_t t = 0; t < 2; ++t) {
    scores[t].buffer = temporary(fmt::format("scores{}", t), n_states * kNpuCacheTile * 4);
    for (std::size_t v = 0; v < 2; ++v) {
      tile[t][v].buffer =
          temporary(fmt::format("{}{}", v == 0 ? "k_tile" : "v_tile", t),
                    static_cast<std::uint64_t>(heads.n) * npu_cache_tile_bytes(cache, v == 1));
    }
  }
  emit_heads(NpuCommandKind::kAttendBegin, NpuEngine::kVector, op, block, heads).out = state;
  emitter_.begin_loop(static_cast<std::uint32_t>(block.first + block.n));
  const auto emit = [&](NpuCommandKind kind, NpuEngine engine, std::size_t t,
                        bool is_value) -> NpuCommand& {
    NpuCommand& command = emit_heads(kind, engine, op, block, heads);
    command.tile = static_cast<std::uint32_t>(t);
    command.is_value = is_value;
    return command;
  };
  for (std::size_t t = 0; t < 2; ++t) {
    for (std::size_t v = 0; v < 2; ++v)
      emit(NpuCommandKind::kLoadCache, NpuEngine::kDataDma, t, v == 1).out = tile[t][v];
  }
  // Both tiles side by side, so that one engine works on one while the other works on the other.
  for (std::size_t t = 0; t < 2; ++t) {
    NpuCommand& command = emit(NpuCommandKind::kScores, score_engine, t, false);
    command.scale = op.scale;
    command.x = q.operand;
    command.z = tile[t][0];
    command.out = scores[t];
  }
  for (std::size_t t = 0; t < 2; ++t) {
    NpuCommand& softmax = emit(NpuCommandKind::kSoftmax, NpuEngine::kVector, t, false);
    softmax.x = scores[t];
    softmax.y = state;
    NpuCommand& mix = emit(NpuCommandKind::kMix, mix_engine, t, true);
    mix.y = scores[t];
    mix.z = tile[t][1];
    mix.out = state;
  }
  emitter_.end_loop();
  const View out = write(op.out, block, column, width, "mixed");
  NpuCommand& end = emit_heads(NpuCommandKind::kAttendEnd, NpuEngine::kVector, op, block, heads);
  end.x = state;
  end.out = out.operand;
  store(op.out, block, column, width, out);
  return {};
}

// The largest block of rows, then of heads, whose tiles, scores and state take a part of SRAM.
Status NpuLowering::attention(const PlanOp& op) {
  const NpuCache& cache = emitter_.commands().cache;
  const std::int64_t group = op.n_heads / cache.n_kv_heads;
  const auto fits = [&](std::int64_t n_heads, std::int64_t n_rows) {
    const auto states = static_cast<std::uint64_t>(n_rows * n_heads * group);
    const std::uint64_t tile_bytes =
        npu_cache_tile_bytes(cache, false) + npu_cache_tile_bytes(cache, true);
    return 2 * static_cast<std::uint64_t>(n_heads) * tile_bytes +
               states * 4 * (2 * kNpuCacheTile + npu_state_floats(cache.head_dim)) <=
           profile_.sram.bytes / kShareOfSram;
  };
  std::int64_t n_rows = std::min(plan_.max_tokens, room_.block_rows), n_heads = cache.n_kv_heads;
  // Tiles are loaded once a block of rows: halve the heads only when rows are few.
  while (!fits(n_heads, n_rows) && (n_rows > 1 || n_heads > 1)) {
    if (n_rows > 8 || n_heads == 1) {
      n_rows = (n_rows + 1) / 2;
    } else {
      n_heads = (n_heads + 1) / 2;
    }
  }
  for (std::int64_t head = 0; head < cache.n_kv_heads; head += n_heads) {
    for (const Block& block : blocks(plan_.max_tokens, n_rows)) {
      CRIA_RETURN_IF_ERROR(
          attend(op, block, {head, std::min<std::int64_t>(n_heads, cache.n_kv_heads - head)}));
    }
  }
  return {};
}

}  // namespace cria
