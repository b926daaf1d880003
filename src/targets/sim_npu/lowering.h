// One attempt to lower a plan, with given room for weights and activations. Parts: rows.cc,
// linear.cc, attention.cc.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "targets/sim_npu/emitter.h"
#include "targets/sim_npu/lower_to_npu.h"

namespace cria {

// What the attempts vary.
struct NpuRoom {
  std::uint64_t ring_bytes = 0;
  std::int64_t block_rows = 0;   // rows that an op works on at a time
  std::vector<bool> in_scratch;  // by plan buffer: does not stay in SRAM
};

class NpuLowering {
 public:
  NpuLowering(const Plan& plan, const NpuProfile& profile, const NpuLoweringOptions& options,
              const NpuRoom& room);

  // Emits everything; then finish() of the emitter places it.
  Status run();
  Emitter& emitter() { return emitter_; }
  // The plan buffer that a buffer of the commands holds; kNoBuffer: none, it is temporary.
  std::uint32_t plan_buffer_of(std::uint32_t buffer) const;
  // Whether a plan buffer lies in SRAM in this attempt.
  bool in_sram(std::uint32_t plan_buffer) const { return sram_[plan_buffer] != kNpuNone; }

 private:
  struct Block {  // rows of an op
    std::int64_t first = 0;
    std::int64_t n = 0;
    int parity = 0;  // which of two temporaries
  };
  // Columns of rows of a plan buffer, in SRAM.
  struct View {
    NpuOperand operand;
    bool is_temporary = false;  // to be stored when it is written
  };

  // lowering.cc
  Status find_homes();
  Status check_weights() const;
  Status lower(std::size_t index);
  Status change_context_if_needed(const PlanOp& op);
  NpuOp describe(const PlanOp& op) const;
  bool is_one_row(std::uint32_t buffer) const { return plan_.buffers[buffer].single_row; }
  std::int64_t rows_of(std::uint32_t buffer) const {
    return is_one_row(buffer) ? 1 : plan_.max_tokens;
  }
  std::vector<Block> blocks(std::int64_t n_rows, std::int64_t block_rows) const;
  std::vector<Block> blocks_of(const PlanOp& op,
                               std::initializer_list<std::uint32_t> buffers) const;
  std::uint64_t stride_of(std::int64_t width) const;
  std::uint32_t temporary(const std::string& name, std::uint64_t size_bytes);
  NpuCommand& emit_rows(NpuCommandKind kind, NpuEngine engine, const Block& block, bool one_row);
  // What is in rows of a buffer: in place, or loaded.
  View read(std::uint32_t buffer, const Block& block, std::int64_t column, std::int64_t width,
            const std::string& role);
  // Room for rows of a buffer: in place, or temporary; then store() them.
  View write(std::uint32_t buffer, const Block& block, std::int64_t column, std::int64_t width,
             const std::string& role);
  void store(std::uint32_t buffer, const Block& block, std::int64_t column, std::int64_t width,
             const View& view);
  // Columns of rows between a buffer's place in scratch (a result's with the caller) and SRAM.
  void transfer(NpuCommandKind kind, std::uint32_t buffer, const Block& block, std::int64_t column,
                std::int64_t width, const NpuOperand& sram);
  // All of a shared buffer that lies in SRAM: before its first op, behind the last that writes it.
  void import_for(std::size_t index);
  void export_behind(std::size_t index);

  // rows.cc
  Status embed(const PlanOp& op);
  Status rms_norm(const PlanOp& op);
  Status hadamard(const PlanOp& op);
  Status rope(const PlanOp& op);
  Status elementwise(const PlanOp& op, NpuCommandKind kind);
  Status swiglu(const PlanOp& op);
  Status last_row(const PlanOp& op);
  Status output(const PlanOp& op);
  Status kv_append(const PlanOp& op);
  void pack_cache(const PlanOp& op, const Block& block, bool is_value);

  // linear.cc
  struct Input {  // rows of x as products take them
    NpuOperand codes, code_blocks, floats;
  };
  struct Tile {  // panels of one weight
    std::uint32_t weight = 0;
    std::int64_t first_row = 0, n_rows = 0;
    std::int64_t column = 0;  // of out
  };
  Status linear(const PlanOp& op);
  Status linear_swiglu(const PlanOp& op, const PlanOp& next);
  Result<Input> prepare(const PlanOp& op, const Block& block);
  void quantize(const PlanOp& op, const Block& block, const Input& input);
  std::vector<Tile> tiles(std::uint32_t weight, std::int64_t column, std::int64_t tile_rows) const;
  std::int64_t tile_rows(const PlanOp& op, std::int64_t block_rows, int buffers) const;
  void matmul(const Tile& tile, const Block& block, bool one_row, const Input& input,
              const NpuOperand& out, bool accumulate);
  bool takes_codes(std::uint32_t weight) const;
  bool fuses_with_swiglu(std::size_t index) const;
  std::int64_t panel_bytes(std::uint32_t weight) const;

  // attention.cc
  struct Heads {  // of the cache
    std::int64_t first = 0;
    std::int64_t n = 0;
  };
  struct Tiles {             // of two steps of a loop
    NpuOperand cache[2][2];  // keys, values
    NpuOperand scores[2];
  };
  struct Step {
    const PlanOp& op;
    const Block& block;
    const Heads& heads;
    Tiles tiles;
  };
  Status attention(const PlanOp& op);  // or one third of it: kScores, kMix
  Status attend(const PlanOp& op, const Block& block, const Heads& heads);
  Status scores(const PlanOp& op, const Block& block, const Heads& heads);
  Status mixed_values(const PlanOp& op, const Block& block, const Heads& heads);
  Tiles tiles_of(const PlanOp& op, const Block& block, const Heads& heads);
  NpuCommand& emit_tile(NpuCommandKind kind, NpuEngine engine, const Step& step, std::size_t tile,
                        bool is_value);
  void score(const Step& step, NpuEngine engine, std::size_t t, const NpuOperand& q);
  void mix(const Step& step, NpuEngine engine, std::size_t t, const NpuOperand& state);
  NpuOperand begin_attention(const Step& step, const NpuOperand* q);
  void end_attention(const Step& step, const NpuOperand& state);
  void set_records(NpuCommand& command, const Step& step, std::uint32_t score_rows) const;
  std::int64_t group_of(const PlanOp& op) const { return plan_.heads_of(op).group; }
  // Counted from the first one that the op works on.
  Heads own_heads(const PlanOp& op, const Heads& heads) const {
    return {heads.first - plan_.heads_of(op).first, heads.n};
  }
  std::pair<std::int64_t, std::int64_t> columns_of(const PlanOp& op, const Heads& heads) const;
  NpuCommand& emit_heads(NpuCommandKind kind, NpuEngine engine, const PlanOp& op,
                         const Block& block, const Heads& heads);
  Result<NpuEngine> product_engine(const PlanOp& op, const Block& block, const Heads& heads,
                                   bool is_value);

  const Plan& plan_;
  const NpuProfile& profile_;
  const NpuLoweringOptions& options_;
  const NpuRoom& room_;
  const DeviceTiles tiles_;
  Emitter emitter_;
  std::vector<NpuWeight> weights_;   // as Plan::weights, in device order
  std::vector<std::uint32_t> sram_;  // by plan buffer; kNpuNone: in scratch or nowhere
  std::vector<bool> is_result_;      // by plan buffer: goes to the caller, nobody else reads it
  std::vector<bool> is_fused_;       // by plan buffer: between a linear and its swiglu
  std::vector<bool> imported_;       // by plan buffer: was loaded
  std::map<std::string, std::uint32_t> temporaries_;  // of the current op
  std::map<std::uint32_t, std::uint32_t> angles_;     // by weight: the buffer of cos, sin behind it
  std::vector<bool> mapped_;                          // by weight: by the current context
  std::vector<bool> mapped_layers_;                   // by layer of the cache
  std::uint64_t mapped_bytes_ = 0;
};

}  // namespace cria
