#include "format/pte/pte_reader.h"

#include <flatbuffers/flatbuffers.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <random>

#include "base/mapped_file.h"
#include "format/pte/pte_example.h"
#include "format/pte/pte_schema.h"
#include "format/pte/pte_verify.h"

namespace cria::pte {
namespace {

using ::testing::HasSubstr;

// Uses all that a reader promises to be in range; the sum keeps the reads alive.
std::uint64_t walk(const PteFile& file) {
  std::uint64_t sum = 0;
  const auto touch = [&sum](std::span<const std::byte> bytes) {
    if (!bytes.empty())
      sum += std::to_integer<int>(bytes.front()) + std::to_integer<int>(bytes.back());
  };
  for (std::uint32_t i = 0; i < file.program.segments.size(); ++i) touch(file.segment(i));
  for (const NamedData& named : file.program.named_data) touch(*file.named_data(named.key));
  for (const InlineData& data : file.program.constant_buffer) touch(data.bytes);
  for (const ExecutionPlan& plan : file.program.execution_plans) {
    for (const BackendDelegate& delegate : plan.delegates) touch(file.delegate_blob(delegate));
  }
  return sum;
}

TEST(PteReader, ReadsBackEverythingThatWasWritten) {
  Program program = example_program();
  const std::vector<std::byte> bytes = example_file(program);
  const Result<PteFile> file = read_pte(bytes, "example.pte");
  ASSERT_TRUE(file.ok()) << file.status().message();
  ASSERT_TRUE(encode_program(program).ok());  // sets the segments' offsets
  EXPECT_EQ(file->program, program);
  EXPECT_TRUE(file->has_extended_header);
  for (std::uint32_t i = 0; i < program.segments.size(); ++i) {
    EXPECT_TRUE(std::ranges::equal(file->segment(i), segment_bytes(program, i))) << i;
    EXPECT_EQ((file->segment(i).data() - bytes.data()) % kSegmentAlignment, 0) << i;
  }
  EXPECT_EQ(file->named_data("weights")->size(), 5000u);
  EXPECT_EQ(file->named_data("empty")->size(), 0u);
  EXPECT_FALSE(file->named_data("other"));
  const ExecutionPlan& plan = file->program.execution_plans[0];
  EXPECT_EQ(file->delegate_blob(plan.delegates[0]).size(), 5000u);
  EXPECT_TRUE(std::ranges::equal(file->delegate_blob(plan.delegates[1]), kInlineBytes));
  EXPECT_EQ(file->program.find_method("second"), &file->program.execution_plans[1]);
  EXPECT_EQ(file->program.find_method("third"), nullptr);
}

TEST(PteReader, WritesAConstantSegmentThoughThereAreNoConstants) {
  const std::vector<std::byte> bytes = example_file(Program{});
  const Result<PteFile> file = read_pte(bytes, "empty.pte");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->program.constant_segment, (SubsegmentOffsets{0, {0}}));
  EXPECT_GE(bytes.size(), 64u);  // what runtimes read at once
}

// As files were before the extended header: all data inside the program.
TEST(PteReader, ReadsFilesWithoutExtendedHeader) {
  Program program;
  program.execution_plans = {example_plan()};
  ExecutionPlan& plan = program.execution_plans[0];
  plan.delegates.erase(plan.delegates.begin());
  plan.chains[0].instructions = {DelegateCall{0, {0, 2}}};
  std::get<Tensor>(plan.values[2]).data_buffer_idx = 0;
  program.constant_buffer = {{}, {kInlineBytes}};
  program.backend_delegate_data = {{kInlineBytes}};
  const std::vector<std::byte> bytes = emit_flatbuffer(program);
  const Result<PteFile> file = read_pte(bytes, "old.pte");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->program, program);
  EXPECT_FALSE(file->has_extended_header);
  EXPECT_TRUE(std::ranges::equal(file->delegate_blob(file->program.execution_plans[0].delegates[0]),
                                 kInlineBytes));
}

TEST(PteReader, ReadsAHeaderThatDoesNotSayHowLongTheSegmentsAre) {
  std::vector<std::byte> bytes = example_file(example_program());
  const std::uint32_t short_header = 24;
  std::memcpy(bytes.data() + 12, &short_header, 4);
  const Result<PteFile> file = read_pte(bytes, "example.pte");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->segment(3).back(), std::byte{4});
}

TEST(PteReader, EveryTruncationIsRefused) {
  const std::vector<std::byte> bytes = example_file(example_program());
  for (std::size_t size = 0; size < bytes.size(); size += size < 4096 ? 1 : 64) {
    const std::vector<std::byte> cut(bytes.begin(), bytes.begin() + size);
    const Result<PteFile> file = read_pte(cut, "cut.pte");
    ASSERT_FALSE(file.ok()) << size;
    EXPECT_EQ(file.status().code(), ErrorCode::kBadInput) << size;
    EXPECT_THAT(file.status().message(), HasSubstr("cut.pte"));
  }
}

// A flipped bit may go unnoticed (in a name, say), but nothing gets out of range.
TEST(PteReader, FlippedBitsAreRefusedOrHarmless) {
  const std::vector<std::byte> bytes = example_file(example_program());
  std::uint64_t program_bytes = 0;
  std::memcpy(&program_bytes, bytes.data() + 16, 8);
  int n_refused = 0;
  for (std::size_t at = 0; at < program_bytes; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<std::byte> flipped = bytes;
      flipped[at] ^= static_cast<std::byte>(1 << bit);
      const Result<PteFile> file = read_pte(flipped, "flipped.pte");
      if (file.ok()) {
        walk(*file);
      } else {
        ++n_refused;
      }
    }
  }
  EXPECT_GT(n_refused, static_cast<int>(program_bytes));  // most bits are offsets and indices
}

TEST(PteReader, RandomDamageIsRefusedOrHarmless) {
  const std::vector<std::byte> bytes = example_file(example_program());
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::byte> damaged = bytes;
    for (int n = 1 + random() % 4; n > 0; --n) {
      damaged[random() % 4096] = static_cast<std::byte>(random() % 3 == 0 ? 0xff : random());
    }
    const Result<PteFile> file = read_pte(damaged, "damaged.pte");
    if (file.ok()) walk(*file);
  }
}

struct HeaderRule {
  const char* name;
  std::size_t offset;
  std::vector<std::uint8_t> bytes;
  ErrorCode code;
  const char* message;
};

TEST(PteReader, RulesOfTheHeaderAreEnforced) {
  const std::vector<std::uint8_t> huge(8, 0xff);
  const HeaderRule rules[] = {
      {"another format", 4, {'G', 'G', 'U', 'F'}, ErrorCode::kBadInput, "no ExecuTorch program"},
      {"older", 4, {'E', 'T', '0', '1'}, ErrorCode::kBadInput, "no ExecuTorch program"},
      {"newer", 4, {'E', 'T', '1', '3'}, ErrorCode::kUnsupported, "format \"ET13\""},
      {"newer header", 8, {'e', 'h', '0', '1'}, ErrorCode::kUnsupported, "header \"eh01\""},
      {"short header", 12, {23, 0, 0, 0}, ErrorCode::kBadInput, "extended header of 23"},
      {"long header", 12, {0, 0, 0, 1}, ErrorCode::kBadInput, "extended header of 16777216"},
      {"program too long", 16, huge, ErrorCode::kBadInput, "program should have"},
      {"program too short", 16, {16, 0, 0, 0, 0, 0, 0, 0}, ErrorCode::kBadInput, "should have 16"},
      {"segments too far", 24, huge, ErrorCode::kBadInput, "segments of"},
      {"segments in the program", 24, {64, 0}, ErrorCode::kBadInput, "segments of"},
      {"segments too long", 32, huge, ErrorCode::kBadInput, "segments of"},
      {"root", 0, {0xff, 0xff, 0xff, 0x7f}, ErrorCode::kBadInput, "root"},
  };
  for (const HeaderRule& rule : rules) {
    std::vector<std::byte> file = example_file(example_program());
    std::memcpy(file.data() + rule.offset, rule.bytes.data(), rule.bytes.size());
    const Result<PteFile> read = read_pte(file, "model.pte");
    ASSERT_FALSE(read.ok()) << rule.name;
    EXPECT_EQ(read.status().code(), rule.code) << rule.name;
    EXPECT_THAT(read.status().message(), HasSubstr(rule.message)) << rule.name;
  }
}

TEST(PteReader, UnalignedBytesAreRefused) {
  const std::vector<std::byte> bytes = example_file(example_program());
  EXPECT_EQ(read_pte(std::span(bytes).subspan(1), "x").status().code(),
            ErrorCode::kInvalidArgument);
}

TEST(PteReader, NewerProgramVersionIsRefused) {
  Program program;
  program.version = 1;
  const Result<PteFile> read = read_pte(emit_flatbuffer(program), "new.pte");
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.status().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(read.status().message(), HasSubstr("new.pte: program version 1"));
}

// Many references to one long list: small as a file, far too large as structs.
TEST(PteReader, SharedPartsDoNotMultiply) {
  const auto read_shared = [](std::size_t n_values) {
    flatbuffers::FlatBufferBuilder builder;
    const auto add_table = [&builder](std::initializer_list<std::pair<int, std::uint32_t>> fields,
                                      std::uint8_t type = 0) {
      const auto start = builder.StartTable();
      if (type != 0) builder.AddElement<std::uint8_t>(schema::slot(0), type, 0);
      for (const auto& [field, target] : fields) {
        builder.AddOffset(schema::slot(field), flatbuffers::Offset<void>(target));
      }
      return builder.EndTable(start);
    };
    const auto items = builder.CreateVector(std::vector<double>(10000, 0.5));
    const auto list = add_table({{0, items.o}});
    const auto value = add_table({{1, list}}, schema::kDoubleList);
    const std::vector<flatbuffers::Offset<void>> values(n_values, value);
    const auto value_list = builder.CreateVector(values);
    const auto name = builder.CreateString("method");
    const auto plan =
        add_table({{schema::PlanField::kName, name.o}, {schema::PlanField::kValues, value_list.o}});
    const auto plans = builder.CreateVector(std::vector<flatbuffers::Offset<void>>{plan});
    const auto root = add_table({{schema::ProgramField::kExecutionPlan, plans.o}});
    builder.Finish(flatbuffers::Offset<void>(root), schema::kIdentifier);
    const auto* bytes = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
    return read_pte(std::vector<std::byte>(bytes, bytes + builder.GetSize()), "shared.pte")
        .status();
  };
  EXPECT_TRUE(read_shared(1).ok()) << read_shared(1).message();
  EXPECT_THAT(read_shared(1000).message(), HasSubstr("over and over"));
  EXPECT_THAT(read_shared(100000).message(), HasSubstr("too many"));
}

struct ProgramRule {
  const char* name;
  std::function<void(Program&)> change;
  const char* message;
};

ExecutionPlan& first(Program& program) { return program.execution_plans[0]; }
Tensor& tensor(Program& program, int value) {
  return std::get<Tensor>(program.execution_plans[0].values[value]);
}
template <typename T>
T& instruction(Program& program, int index) {
  return std::get<T>(program.execution_plans[0].chains[0].instructions[index]);
}

const ProgramRule kProgramRules[] = {
    {"method without name", [](Program& p) { first(p).name.clear(); }, "without a name"},
    {"method twice", [](Program& p) { first(p).name = p.execution_plans[1].name; }, "there twice"},
    {"input", [](Program& p) { first(p).inputs = {14}; }, "inputs name value 14, there are 14"},
    {"output", [](Program& p) { first(p).outputs = {-1}; }, "outputs name value -1"},
    {"chain input", [](Program& p) { first(p).chains[0].inputs = {99}; }, "chain inputs"},
    {"chain output", [](Program& p) { first(p).chains[1].outputs = {99}; }, "chain outputs"},
    {"arena size", [](Program& p) { first(p).non_const_buffer_sizes[2] = -1; }, "arena"},
    {"arena zero", [](Program& p) { tensor(p, 0).allocation->memory_id = 0; }, "arena 0"},
    {"arena missing", [](Program& p) { tensor(p, 0).allocation->memory_id = 3; }, "arena 3"},
    {"arena exceeded", [](Program& p) { first(p).non_const_buffer_sizes[1] -= 1; },
     "value 0: a tensor of 24 bytes"},
    {"arena offset", [](Program& p) { tensor(p, 0).allocation->offset_bytes = ~0ull; }, "24 bytes"},
    {"negative size", [](Program& p) { tensor(p, 0).sizes[0] = -1; }, "with size -1"},
    {"size overflow",
     [](Program& p) {
       tensor(p, 0).sizes = {0x7fffffff, 0x7fffffff, 0x7fffffff};
       tensor(p, 0).dim_order = {0, 1, 2};
     },
     "overflows"},
    {"rank", [](Program& p) { tensor(p, 0).sizes.resize(17, 1); }, "rank 17"},
    {"dim_order short", [](Program& p) { tensor(p, 0).dim_order.pop_back(); }, "permutation"},
    {"dim_order twice",
     [](Program& p) {
       tensor(p, 0).dim_order = {0, 0};
     },
     "permutation"},
    {"dim_order range",
     [](Program& p) {
       tensor(p, 0).dim_order = {0, 40};
     },
     "permutation"},
    {"constant", [](Program& p) { tensor(p, 1).data_buffer_idx = 2; }, "buffer 2, there are 2"},
    {"constants missing", [](Program& p) { p.constant_segment.reset(); }, "there are 0"},
    {"mutable data", [](Program& p) { tensor(p, 2).data_buffer_idx = 2; }, "buffer 2"},
    {"mutable list", [](Program& p) { tensor(p, 2).extra->mutable_data_segments_idx = 1; },
     "there are 0"},
    {"int list", [](Program& p) { first(p).values[9] = IntList{{6}}; }, "which is no int"},
    {"int list range", [](Program& p) { first(p).values[9] = IntList{{99}}; }, "which is no int"},
    {"tensor list", [](Program& p) { first(p).values[12] = TensorList{{4}}; }, "is no tensor"},
    {"tensor list range", [](Program& p) { first(p).values[12] = TensorList{{-1}}; }, "-1"},
    {"optional list", [](Program& p) { first(p).values[13] = OptionalTensorList{{5}}; },
     "is no tensor"},
    {"operator", [](Program& p) { instruction<KernelCall>(p, 0).op_index = 2; }, "operator 2"},
    {"kernel argument", [](Program& p) { instruction<KernelCall>(p, 0).args[0] = 14; },
     "instruction 0: arguments name value 14"},
    {"delegate", [](Program& p) { instruction<DelegateCall>(p, 1).delegate_index = -1; },
     "delegate -1"},
    {"delegate argument", [](Program& p) { instruction<DelegateCall>(p, 1).args[0] = 14; },
     "arguments name"},
    {"move", [](Program& p) { instruction<MoveCall>(p, 3).to = 14; }, "moves name"},
    {"jump", [](Program& p) { instruction<JumpFalseCall>(p, 4).destination = 7; },
     "jumps to instruction 7, there are 6"},
    {"jump condition", [](Program& p) { instruction<JumpFalseCall>(p, 4).condition = 14; },
     "jumps name"},
    {"free", [](Program& p) { instruction<FreeCall>(p, 5).value = -1; }, "frees name"},
    {"delegate segment", [](Program& p) { first(p).delegates[0].data_index = 4; },
     "its data is segment 4"},
    {"delegate data", [](Program& p) { first(p).delegates[1].data_index = 1; },
     "its data is inline data 1"},
    {"constant segment", [](Program& p) { p.constant_segment->segment_index = 4; }, "segment 4"},
    {"constant offset", [](Program& p) { p.constant_segment->offsets[1] = 101; }, "data at 101"},
    {"mutable segment", [](Program& p) { p.mutable_data_segments[0].segment_index = 4; },
     "segment 4"},
    {"mutable offset", [](Program& p) { p.mutable_data_segments[0].offsets[1] = 65; },
     "data at 65"},
    {"key empty", [](Program& p) { p.named_data[0].key.clear(); }, "without a key"},
    {"key twice", [](Program& p) { p.named_data[0].key = p.named_data[1].key; }, "there twice"},
    {"named segment", [](Program& p) { p.named_data[0].segment_index = 4; }, "is segment 4"},
    {"segment end", [](Program& p) { p.segments[0].offset_bytes = 1 << 20; }, "segment 0 has 100"},
    {"segment size", [](Program& p) { p.segments[0].size_bytes = ~0ull; }, "segment 0 has"},
    {"segment wraps", [](Program& p) { p.segments[0].offset_bytes = ~0ull; }, "segment 0 has"},
};

// Each rule, as a file that breaks only it.
TEST(PteReader, RulesOfTheProgramAreEnforced) {
  for (const ProgramRule& rule : kProgramRules) {
    Program program = example_program();
    const ProgramBytes valid = encode_program(program).value();
    rule.change(program);
    const std::vector<std::byte> changed = emit_flatbuffer(program);
    const Result<Program> parsed = parse_flatbuffer(changed);
    ASSERT_TRUE(parsed.ok()) << rule.name;
    const Status status = verify_program(*parsed, valid.file_bytes - valid.segment_base_offset);
    ASSERT_FALSE(status.ok()) << rule.name;
    EXPECT_EQ(status.code(), ErrorCode::kBadInput) << rule.name;
    EXPECT_THAT(status.message(), HasSubstr(rule.message)) << rule.name;
    // The same through the reader; without a header a file has no segments at all.
    EXPECT_FALSE(read_pte(changed, "changed.pte").ok()) << rule.name;
  }
}

std::string shared_file(const std::string& name) {
  const char* folder = std::getenv("CRIA_SHARED_DATA");
  return (folder != nullptr ? std::string(folder) : CRIA_SOURCE_DIR "/../shared/data") + "/pte/" +
         name;
}

// Files that other exporters made.
class OthersPte : public ::testing::Test {
 protected:
  void open(const std::string& name) {
    Result<MappedFile> mapped = MappedFile::open(shared_file(name));
    if (!mapped.ok()) {
      GTEST_SKIP() << "SKIPPED: reading another exporter's .pte; no " << shared_file(name);
    }
    mapped_.emplace(std::move(*mapped));
    Result<PteFile> file = read_pte(mapped_->bytes(), name);
    ASSERT_TRUE(file.ok()) << file.status().message();
    file_ = std::move(*file);
    walk(file_);
  }
  const ExecutionPlan& method(std::string_view name) const {
    const ExecutionPlan* plan = file_.program.find_method(name);
    EXPECT_NE(plan, nullptr) << name;
    return plan == nullptr ? file_.program.execution_plans[0] : *plan;
  }
  std::optional<MappedFile> mapped_;
  PteFile file_;
};

TEST_F(OthersPte, Add) {
  open("add.pte");
  if (IsSkipped()) return;
  EXPECT_FALSE(file_.has_extended_header);
  ASSERT_EQ(file_.program.execution_plans.size(), 1u);
  const ExecutionPlan& plan = method("forward");
  EXPECT_EQ(plan.operators, (std::vector<Operator>{{"aten::add", "out"}}));
  ASSERT_EQ(plan.chains.size(), 1u);
  ASSERT_EQ(plan.chains[0].instructions.size(), 1u);
  const auto& call = std::get<KernelCall>(plan.chains[0].instructions[0]);
  EXPECT_THAT(call.args, ::testing::Contains(plan.inputs[0]));
  const auto& input = std::get<Tensor>(plan.values[plan.inputs[0]]);
  EXPECT_EQ(input.scalar_type, ScalarType::kFloat);
  EXPECT_EQ(input.sizes, std::vector<std::int32_t>{1});
}

TEST_F(OthersPte, KeywordSpotting) {
  open("keyword_spotting.pte");
  if (IsSkipped()) return;
  EXPECT_TRUE(file_.has_extended_header);
  const ExecutionPlan& plan = method("forward");
  EXPECT_EQ(plan.operators.size(), 8u);
  EXPECT_EQ(plan.operators[0].name, "cortex_m::quantize_per_tensor");
  EXPECT_TRUE(plan.delegates.empty());
  // The input is one patch of 49 x 10 features; the output has a logit a keyword.
  EXPECT_EQ(tensor_bytes(std::get<Tensor>(plan.values[plan.inputs[0]])), 49u * 10 * 4);
  EXPECT_EQ(tensor_bytes(std::get<Tensor>(plan.values[plan.outputs[0]])), 12u * 4);
  const auto& constant = std::get<Tensor>(plan.values[0]);
  EXPECT_EQ(constant.data_buffer_idx, 1u);
  EXPECT_FALSE(constant.allocation);
  EXPECT_EQ(file_.program.constant_segment->offsets.size(), 64u);
}

TEST_F(OthersPte, LlamaForAHexagonNpu) {
  open("stories260k_hybrid_llama_qnn.pte");
  if (IsSkipped()) return;
  EXPECT_EQ(file_.program.execution_plans.size(), 29u);
  for (const char* name : {"kv_forward", "prefill_forward"}) {
    const ExecutionPlan& plan = method(name);
    ASSERT_EQ(plan.delegates.size(), 1u);
    EXPECT_EQ(plan.delegates[0].id, "QnnBackend");
    EXPECT_GT(file_.delegate_blob(plan.delegates[0]).size(), 1000000u);
    ASSERT_EQ(plan.chains[0].instructions.size(), 1u);
    EXPECT_TRUE(std::holds_alternative<DelegateCall>(plan.chains[0].instructions[0]));
    EXPECT_EQ(plan.inputs.size() + plan.outputs.size(), plan.values.size());
  }
  const ExecutionPlan& vocabulary = method("get_vocab_size");
  EXPECT_EQ(std::get<std::int64_t>(vocabulary.values[vocabulary.outputs[0]]), 512);
  EXPECT_EQ(method("get_logits_scale").values[0].index(), Value(1.0).index());
}

}  // namespace
}  // namespace cria::pte
