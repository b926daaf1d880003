// Products with weights, a tile of panels at a time.
#include <algorithm>

#include "base/aligned_buffer.h"
#include "format/npu_commands/npu_access.h"
#include "targets/sim_npu/lowering.h"

namespace cria {
namespace {

constexpr std::int64_t kTileBytes = 1 << 20;  // of weights: where DMA engines reach their full rate
constexpr std::int64_t kResultBytes = 1 << 18;  // of a tile's result, where it is temporary
constexpr std::int64_t kQuantizeRows =
    32;  // rows that kernels quantize as one piece (kA8TileTokens)

}  // namespace

bool NpuLowering::takes_codes(std::uint32_t weight) const {
  return options_.a8 && !encoding_spec(plan_.weights[weight].encoding).dense();
}

std::int64_t NpuLowering::panel_bytes(std::uint32_t weight) const {
  return static_cast<std::int64_t>(npu_panel_bytes(weights_[weight], kPanelRows));
}

// gate and up of equal height, side by side, for a swiglu that follows at once.
bool NpuLowering::fuses_with_swiglu(std::size_t index) const {
  if (index + 1 >= plan_.ops.size()) return false;
  const PlanOp& op = plan_.ops[index];
  const PlanOp& next = plan_.ops[index + 1];
  return op.kind == PlanOpKind::kLinear && next.kind == PlanOpKind::kSwiGlu && next.x == op.out &&
         !op.accumulate && op.column == 0 && op.weights.size() == 2 &&
         plan_.weights[op.weights[0]].n_rows == plan_.weights[op.weights[1]].n_rows &&
         plan_.weights[op.weights[0]].n_rows == plan_.buffers[next.out].width &&
         !room_.in_scratch[op.out];
}

// Rows of a weight that a command multiplies with: whole strips, about kTileBytes, several of which
// fit the ring.
std::int64_t NpuLowering::tile_rows(const PlanOp& op, std::int64_t block_rows, int buffers) const {
  std::int64_t most_bytes = 1;
  for (const std::uint32_t w : op.weights) most_bytes = std::max(most_bytes, panel_bytes(w));
  const std::int64_t strip = std::int64_t{tiles_.strip_panels} * kPanelRows;
  const auto ring = static_cast<std::int64_t>(room_.ring_bytes);
  const std::int64_t bytes = std::min(kTileBytes, ring / 4);
  std::int64_t rows = bytes / most_bytes * kPanelRows;
  if (buffers > 0) rows = std::min(rows, kResultBytes / (4 * block_rows));
  return std::max(strip, rows / strip * strip);
}

std::vector<NpuLowering::Tile> NpuLowering::tiles(std::uint32_t weight, std::int64_t column,
                                                  std::int64_t tile_rows) const {
  std::vector<Tile> list;
  const std::int64_t n_rows = plan_.weights[weight].n_rows;
  for (std::int64_t first = 0; first < n_rows; first += tile_rows) {
    list.push_back({weight, first, std::min(tile_rows, n_rows - first), column + first});
  }
  return list;
}

void NpuLowering::matmul(const Tile& tile, const Block& block, bool one_row, const Input& input,
                         const NpuOperand& out, bool accumulate) {
  const std::int64_t panel = panel_bytes(tile.weight);
  const std::int64_t n_panels = (tile.n_rows + kPanelRows - 1) / kPanelRows;
  const NpuOperand weights = emitter_.load_weight(
      tile.weight, static_cast<std::uint64_t>(tile.first_row / kPanelRows * panel),
      static_cast<std::uint64_t>(n_panels * panel));
  NpuCommand& product = emit_rows(NpuCommandKind::kMatmul, NpuEngine::kMatrix, block, one_row);
  product.weight = tile.weight;
  product.first_panel = static_cast<std::uint32_t>(tile.first_row / kPanelRows);
  product.n_out = static_cast<std::uint32_t>(tile.n_rows);
  product.n_cols = static_cast<std::uint32_t>(plan_.weights[tile.weight].n_cols);
  product.accumulate = accumulate;
  product.float_input = !takes_codes(tile.weight);
  product.x = product.float_input ? input.floats : input.codes;
  if (!product.float_input) product.y = input.code_blocks;
  product.z = weights;
  product.out = out;
}

// The codes of rows of x. What is loaded for it comes in pieces of as many rows as kernels quantize
// as one.
void NpuLowering::quantize(const PlanOp& op, const Block& block, const Input& input) {
  const std::int64_t width = plan_.buffers[op.x].width;
  const bool whole = in_sram(op.x) || input.floats.buffer != kNpuNone;
  for (Block piece : blocks(block.n, whole ? block.n : kQuantizeRows)) {
    const auto done = static_cast<std::uint64_t>(piece.first);
    piece.first += block.first;
    const NpuOperand x = input.floats.buffer != kNpuNone
                             ? input.floats
                             : read(op.x, piece, 0, width, "part").operand;
    NpuCommand& command =
        emit_rows(NpuCommandKind::kQuantize, NpuEngine::kVector, piece, is_one_row(op.x));
    command.n_cols = static_cast<std::uint32_t>(width);
    command.x = x;
    command.out = input.codes;
    command.out.offset += npu_code_bytes(done, static_cast<std::uint64_t>(width));
    command.y = input.code_blocks;
    command.y.offset += npu_block_bytes(done, static_cast<std::uint64_t>(width));
  }
}

Result<NpuLowering::Input> NpuLowering::prepare(const PlanOp& op, const Block& block) {
  const auto width = static_cast<std::uint64_t>(plan_.buffers[op.x].width);
  const auto n_rows = static_cast<std::uint64_t>(block.n);
  Input input;
  const bool floats =
      !std::ranges::all_of(op.weights, [this](std::uint32_t w) { return takes_codes(w); });
  const bool codes =
      std::ranges::any_of(op.weights, [this](std::uint32_t w) { return takes_codes(w); });
  if (floats) input.floats = read(op.x, block, 0, static_cast<std::int64_t>(width), "x").operand;
  if (codes) {
    input.codes = {temporary(fmt::format("codes{}", block.parity), npu_code_bytes(n_rows, width)),
                   0, 0};
    input.code_blocks = {
        temporary(fmt::format("code_blocks{}", block.parity), npu_block_bytes(n_rows, width)), 0,
        0};
    quantize(op, block, input);
  }
  return input;
}

Status NpuLowering::linear(const PlanOp& op) {
  const bool one_row = is_one_row(op.x);
  const std::int64_t n_rows = rows_of(op.x);
  for (const Block& block : blocks(n_rows, std::min(n_rows, room_.block_rows))) {
    CRIA_ASSIGN_OR_RETURN(const Input input, prepare(op, block));
    std::int64_t column = op.column;
    int parity = 0;
    const std::int64_t rows = tile_rows(op, block.n, in_sram(op.out) ? 0 : 1);
    for (const std::uint32_t weight : op.weights) {
      for (const Tile& tile : tiles(weight, column, rows)) {
        Block place = block;
        place.parity = parity;
        const View out = op.accumulate ? read(op.out, place, tile.column, tile.n_rows, "result")
                                       : write(op.out, place, tile.column, tile.n_rows, "result");
        matmul(tile, block, one_row, input, out.operand, op.accumulate);
        store(op.out, place, tile.column, tile.n_rows, out);
        parity ^= 1;
      }
      column += plan_.weights[weight].n_rows;
    }
  }
  return {};
}

// The same rows of gate and of up, then their swiglu: neither exists in whole.
Status NpuLowering::linear_swiglu(const PlanOp& op, const PlanOp& next) {
  const bool one_row = is_one_row(op.x);
  const std::int64_t n_rows = rows_of(op.x);
  for (const Block& block : blocks(n_rows, std::min(n_rows, room_.block_rows))) {
    CRIA_ASSIGN_OR_RETURN(const Input input, prepare(op, block));
    Block place = block;
    place.parity = 0;
    for (const Tile& gate : tiles(op.weights[0], 0, tile_rows(op, block.n, 1))) {
      const std::uint64_t stride = stride_of(gate.n_rows);
      const auto room = [&](const char* name) {
        return NpuOperand{temporary(fmt::format("{}{}", name, place.parity),
                                    stride * static_cast<std::uint64_t>(block.n)),
                          0, stride};
      };
      const NpuOperand gates = room("gate"), ups = room("up");
      matmul(gate, block, one_row, input, gates, false);
      matmul({op.weights[1], gate.first_row, gate.n_rows, 0}, block, one_row, input, ups, false);
      const View out = write(next.out, place, gate.column, gate.n_rows, "active");
      NpuCommand& swiglu = emit_rows(NpuCommandKind::kSwiGlu, NpuEngine::kVector, block, one_row);
      swiglu.n_cols = static_cast<std::uint32_t>(gate.n_rows);
      swiglu.x = gates;
      swiglu.y = ups;
      swiglu.out = out.operand;
      store(next.out, place, gate.column, gate.n_rows, out);
      place.parity ^= 1;
    }
  }
  return {};
}

}  // namespace cria
