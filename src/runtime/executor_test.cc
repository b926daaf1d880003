#include "runtime/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <thread>

#include "format/pte/pte_reader.h"
#include "runtime/test_program.h"

namespace cria {
namespace {

using pte::ArgumentRole;
using pte::ScalarType;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

// A delegate that does what the test at hand says. Tables are plain functions, hence the globals.
struct FakeDelegate {
  bool available = true;
  int init_code = 0;
  int n_handles = 0;
  cria_host host{};
  std::string blob;
  std::vector<std::pair<std::string, std::string>> options;
  std::vector<cria_tensor> args;  // of the last call
  std::function<int(cria_tensor* args)> execute = [](cria_tensor*) { return 0; };
};
FakeDelegate fake;

int fake_is_available() { return fake.available ? 1 : 0; }

int fake_init(const cria_host* host, cria_bytes blob, const cria_option* options, size_t n_options,
              void** handle) {
  fake.host = *host;
  fake.blob.assign(static_cast<const char*>(blob.data), blob.size_bytes);
  fake.options.clear();
  for (size_t i = 0; i < n_options; ++i)
    fake.options.emplace_back(options[i].key, options[i].value);
  if (fake.init_code != 0) {
    host->set_error(host->context, "no room");
    return fake.init_code;
  }
  ++fake.n_handles;
  *handle = &fake;
  return 0;
}

int fake_execute(void*, cria_tensor* args, size_t n_args) {
  {
    static std::mutex mutex;  // a device with a queue calls beside the host
    const std::lock_guard lock(mutex);
    fake.args.assign(args, args + n_args);
  }
  return fake.execute(args);
}

void fake_destroy(void*) { --fake.n_handles; }

constexpr cria_delegate kFake = {
    CRIA_DELEGATE_ABI_VERSION, "Fake", fake_is_available, fake_init, fake_execute, fake_destroy};

pte::MethodSpec method_spec(std::string name, std::int32_t scratch_bytes = 128) {
  pte::MethodSpec spec;
  spec.name = std::move(name);
  spec.arguments = {
      {ArgumentRole::kInput, ScalarType::kLong, {1, 8}, true},
      {ArgumentRole::kInternal, ScalarType::kByte, {16, 4}, true, pte::kCacheArena},
      {ArgumentRole::kInternal, ScalarType::kByte, {scratch_bytes}},
      {ArgumentRole::kOutput, ScalarType::kFloat, {1, 8, 2}, true},
  };
  spec.delegate_id = "Fake";
  spec.blob = {std::byte{'h'}, std::byte{'i'}};
  spec.compile_specs = {pte::text_spec("act", "a8")};
  return spec;
}

class ExecutorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fake = {};
    ASSERT_TRUE(registry_.add(&kFake).ok());
  }
  void TearDown() override {
    executor_.reset();
    EXPECT_EQ(fake.n_handles, 0) << "every handle is destroyed";
  }

  Status load(const std::vector<pte::MethodSpec>& methods, const ExecutorOptions& options = {}) {
    pte::ProgramSpec spec;
    spec.methods = methods;
    CRIA_RETURN_IF_ERROR(write_program(file_.path(), spec, {{"w", {std::byte{9}}}}));
    std::vector<std::string> names;
    for (const pte::MethodSpec& method : methods) names.push_back(method.name);
    return load_file(names, options);
  }

  Status load_file(const std::vector<std::string>& names, const ExecutorOptions& options = {}) {
    CRIA_ASSIGN_OR_RETURN(std::shared_ptr<const Program> program, Program::load(file_.path()));
    CRIA_ASSIGN_OR_RETURN(executor_, Executor::create(program, names, registry_, options));
    return {};
  }

  // A program that the builder would not make.
  Status load_program(pte::Program program) {
    CRIA_ASSIGN_OR_RETURN(pte::PteWriter writer,
                          pte::PteWriter::create(file_.path(), std::move(program)));
    for (std::uint32_t i = 0; i < writer.program().segments.size(); ++i) {
      const std::vector<std::byte> data(writer.program().segments[i].size_bytes);
      CRIA_RETURN_IF_ERROR(writer.append(i, data));
    }
    CRIA_RETURN_IF_ERROR(writer.finish());
    return load_file({"run"});
  }

  pte::Program built() {
    pte::ProgramSpec spec;
    spec.methods = {method_spec("run")};
    Result<pte::Program> program = pte::build_program(spec);
    EXPECT_TRUE(program.ok()) << program.status().message();
    return *program;
  }

  Status run() { return executor_->run("run", {&input_, 1}, {&output_, 1}, state_); }

  TemporaryFile file_;
  DelegateRegistry registry_;
  std::unique_ptr<Executor> executor_;
  std::int64_t tokens_[8] = {};
  float logits_[16] = {};
  std::vector<std::byte> state_ = std::vector<std::byte>(64);
  cria_tensor input_{tokens_, 3 * sizeof(std::int64_t), 4, 2, {1, 3}};
  cria_tensor output_{logits_, sizeof(logits_), 6, 3, {1, 8, 2}};
};

TEST_F(ExecutorTest, ArgumentsArriveInOrderWithTheCallersMemory) {
  ASSERT_TRUE(load({method_spec("run")}).ok());
  ASSERT_TRUE(run().ok());
  ASSERT_EQ(fake.args.size(), 4u);
  EXPECT_EQ(fake.args[0].data, tokens_);
  EXPECT_EQ(fake.args[0].size_bytes, 24u);
  EXPECT_EQ(fake.args[0].sizes[1], 3);
  EXPECT_EQ(fake.args[1].data, state_.data());
  EXPECT_EQ(fake.args[2].size_bytes, 128u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(fake.args[2].data) % 64, 0u);
  EXPECT_EQ(fake.args[3].data, logits_);
  EXPECT_EQ(fake.blob, "hi");
}

TEST_F(ExecutorTest, TheStateTensorHasAsManyRowsAsItsMemory) {
  ASSERT_TRUE(load({method_spec("run")}).ok());
  EXPECT_THAT((*executor_->method("run"))->state().sizes, ElementsAre(16, 4));
  state_.resize(27);
  ASSERT_TRUE(run().ok());
  EXPECT_EQ(fake.args[1].sizes[0], 6);
  EXPECT_EQ(fake.args[1].size_bytes, 24u);
  state_.resize(1000);
  ASSERT_TRUE(run().ok());
  EXPECT_EQ(fake.args[1].sizes[0], 16) << "never more than the program declares";
  state_.resize(3);
  EXPECT_EQ(run().code(), ErrorCode::kInvalidArgument);
}

TEST_F(ExecutorTest, ADelegateMayLowerAnOutput) {
  ASSERT_TRUE(load({method_spec("run")}).ok());
  fake.execute = [](cria_tensor* args) {
    args[3].sizes[1] = 3;
    args[3].size_bytes = 24;
    return 0;
  };
  ASSERT_TRUE(run().ok());
  EXPECT_EQ(output_.sizes[1], 3);
  EXPECT_EQ(output_.size_bytes, 24u);
}

TEST_F(ExecutorTest, ADelegateMayNotEnlargeOrMoveAnArgument) {
  ASSERT_TRUE(load({method_spec("run")}).ok());
  const std::function<void(cria_tensor&)> faults[] = {
      [](cria_tensor& t) { t.sizes[1] = 9; },    [](cria_tensor& t) { t.sizes[1] = -1; },
      [](cria_tensor& t) { t.size_bytes += 1; }, [](cria_tensor& t) { t.rank = 4; },
      [](cria_tensor& t) { t.data = &fake; },    [](cria_tensor& t) { t.dtype = 7; },
  };
  for (const auto& fault : faults) {
    fake.execute = [&fault](cria_tensor* args) {
      fault(args[3]);
      return 0;
    };
    EXPECT_EQ(run().code(), ErrorCode::kInternal);
  }
}

TEST_F(ExecutorTest, ArgumentsThatDoNotFitAreRefused) {
  ASSERT_TRUE(load({method_spec("run")}).ok());
  EXPECT_EQ(executor_->run("run", {}, {&output_, 1}, state_).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(executor_->run("run", {&input_, 1}, {}, state_).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(executor_->run("walk", {&input_, 1}, {&output_, 1}, state_).code(),
            ErrorCode::kNotFound);
  const std::function<void(cria_tensor&)> faults[] = {
      [](cria_tensor& t) { t.data = nullptr; },  [](cria_tensor& t) { t.dtype = 3; },
      [](cria_tensor& t) { t.rank = 1; },        [](cria_tensor& t) { t.rank = 99; },
      [](cria_tensor& t) { t.sizes[1] = 9; },    [](cria_tensor& t) { t.sizes[1] = -3; },
      [](cria_tensor& t) { t.size_bytes = 25; },
  };
  const cria_tensor good = input_;
  for (const auto& fault : faults) {
    input_ = good;
    fault(input_);
    EXPECT_EQ(run().code(), ErrorCode::kInvalidArgument);
  }
  EXPECT_THAT(fake.args, IsEmpty()) << "no delegate saw any of it";
}

TEST_F(ExecutorTest, TheDelegatesErrorIsTold) {
  ASSERT_TRUE(load({method_spec("run")}).ok());
  fake.execute = [](cria_tensor*) {
    fake.host.set_error(fake.host.context, "it is too hot");
    return static_cast<int>(ErrorCode::kOutOfResources);
  };
  Status status = run();
  EXPECT_EQ(status.code(), ErrorCode::kOutOfResources);
  EXPECT_THAT(status.message(), HasSubstr("method run: Fake: it is too hot"));
  fake.execute = [](cria_tensor*) { return 1234; };
  status = run();
  EXPECT_EQ(status.code(), ErrorCode::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("1234"));
}

TEST_F(ExecutorTest, AFailedInitIsAnErrorOfLoading) {
  fake.init_code = static_cast<int>(ErrorCode::kOutOfResources);
  Status status = load({method_spec("run")});
  EXPECT_EQ(status.code(), ErrorCode::kOutOfResources);
  EXPECT_THAT(status.message(), HasSubstr("no room"));
}

TEST_F(ExecutorTest, DelegatesThatAreNotThere) {
  fake.available = false;
  EXPECT_EQ(load({method_spec("run")}).code(), ErrorCode::kUnsupported);
  pte::MethodSpec spec = method_spec("run");
  spec.delegate_id = "Missing";
  Status status = load({spec});
  EXPECT_EQ(status.code(), ErrorCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("Missing"));
}

TEST_F(ExecutorTest, OptionsComeFromTheProgramThenFromTheCaller) {
  ExecutorOptions options;
  options.options = {{"", "act", "a16"}, {"Fake", "x", "1"}, {"Other", "y", "2"}};
  ASSERT_TRUE(load({method_spec("run")}, options).ok());
  EXPECT_THAT(fake.options, ElementsAre(Pair("act", "a8"), Pair("act", "a16"), Pair("x", "1")));
}

TEST_F(ExecutorTest, TheHostLendsNamedDataAndThreads) {
  ExecutorOptions options;
  options.n_threads = 3;
  ASSERT_TRUE(load({method_spec("run")}, options).ok());
  const cria_host& host = fake.host;
  cria_bytes data{};
  ASSERT_EQ(host.get_named_data(host.context, "w", &data), 0);
  ASSERT_EQ(data.size_bytes, 1u);
  EXPECT_EQ(*static_cast<const char*>(data.data), 9);
  EXPECT_EQ(host.get_named_data(host.context, "v", &data), static_cast<int>(ErrorCode::kNotFound));
  EXPECT_EQ(host.n_threads, 3);
  std::vector<std::atomic<int>> counts(100);
  host.parallel_for(
      host.context, 100,
      [](void* argument, int64_t index, int32_t thread) {
        EXPECT_GE(thread, 0);
        EXPECT_LT(thread, 3);
        ++(*static_cast<std::vector<std::atomic<int>>*>(argument))[static_cast<size_t>(index)];
      },
      &counts);
  for (const std::atomic<int>& count : counts) EXPECT_EQ(count, 1);
}

TEST_F(ExecutorTest, OpsAreRecordedForWhoeverListens) {
  std::vector<std::string> heard;
  ExecutorOptions options;
  options.on_op = [&heard](const OpEvent& event) {
    EXPECT_GE(event.record.end_ns, event.record.start_ns);
    heard.push_back(fmt::format("{} {} {} '{}'", event.method, event.delegate, event.record.op,
                                event.record.name));
  };
  ASSERT_TRUE(load({method_spec("run")}, options).ok());
  fake.execute = [](cria_tensor*) {
    for (const char* op : {"linear", static_cast<const char*>(nullptr)}) {
      cria_op_record record{};
      record.op = op;
      record.start_ns = 7;  // and ends before: a plug-in may say anything
      fake.host.record_op(fake.host.context, &record);
    }
    return 0;
  };
  ASSERT_TRUE(run().ok());
  EXPECT_THAT(heard, ElementsAre("run Fake linear ''", "run Fake  ''"));
}

TEST_F(ExecutorTest, InputsAreShownToWhoeverListens) {
  std::vector<std::string> heard;
  ExecutorOptions options;
  options.on_input = [&heard](const InputEvent& event) {
    const cria_input_record& record = event.record;
    heard.push_back(fmt::format("{} {} {} [{}, {}] {}", event.method, event.delegate,
                                record.weights[record.n_weights - 1], record.n_rows, record.n_cols,
                                record.rows[3]));
  };
  ASSERT_TRUE(load({method_spec("run")}, options).ok());
  EXPECT_EQ(fake.host.record_op, nullptr);
  const char* const weights[] = {"a", "b"};
  const float rows[] = {1, 2, 3, 4};
  cria_input_record record{weights, 2, rows, 2, 2};
  fake.execute = [&record](cria_tensor*) {
    fake.host.observe_input(fake.host.context, &record);
    return 0;
  };
  ASSERT_TRUE(run().ok());
  EXPECT_THAT(heard, ElementsAre("run Fake b [2, 2] 4"));
  record.rows = nullptr;  // a plug-in may show anything
  const Status refused = run();
  EXPECT_EQ(refused.code(), ErrorCode::kInternal);
  EXPECT_EQ(heard.size(), 1U);
}

TEST_F(ExecutorTest, WithoutAListenerNothingIsRecorded) {
  ASSERT_TRUE(load({method_spec("run")}).ok());
  EXPECT_EQ(fake.host.record_op, nullptr);
  EXPECT_EQ(fake.host.observe_input, nullptr);
}

TEST_F(ExecutorTest, MethodsShareOneArenaAsLargeAsTheLargestNeeds) {
  ASSERT_TRUE(load({method_spec("small"), method_spec("large", 1 << 20)}).ok());
  EXPECT_GE(executor_->activation_bytes(), 1u << 20);
  EXPECT_LT(executor_->activation_bytes(), (1u << 20) + 4096);
  EXPECT_THAT((*executor_->method("large"))->delegate_names(), ElementsAre("Fake"));
  EXPECT_EQ(executor_->method("medium").status().code(), ErrorCode::kNotFound);
}

TEST_F(ExecutorTest, AnOperatorIsRefusedByNameWhenLoading) {
  pte::Program program = built();
  pte::ExecutionPlan& plan = program.execution_plans[0];
  plan.operators = {{"aten::add", "out"}};
  plan.chains[0].instructions.push_back(pte::KernelCall{0, {0}});
  Status status = load_program(program);
  EXPECT_EQ(status.code(), ErrorCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr("aten::add.out"));
}

TEST_F(ExecutorTest, OtherInstructionsAreRefused) {
  const pte::Instruction others[] = {pte::MoveCall{0, 0}, pte::FreeCall{0}};
  for (const pte::Instruction& other : others) {
    pte::Program program = built();
    program.execution_plans[0].chains[0].instructions.push_back(other);
    EXPECT_EQ(load_program(program).code(), ErrorCode::kUnsupported);
  }
}

TEST_F(ExecutorTest, OtherMemoryPlansAreRefused) {
  const auto tensor = [](pte::Program& program, std::size_t argument) -> pte::Tensor& {
    const auto& call =
        std::get<pte::DelegateCall>(program.execution_plans[0].chains[0].instructions[0]);
    return std::get<pte::Tensor>(
        program.execution_plans[0].values[static_cast<std::size_t>(call.args[argument])]);
  };
  pte::Program program = built();  // scratch in an arena of its own
  program.execution_plans[0].non_const_buffer_sizes.push_back(4096);
  tensor(program, 2).allocation = pte::AllocationInfo{3, 0};
  Status status = load_program(program);
  EXPECT_EQ(status.code(), ErrorCode::kUnsupported) << status.message();

  program = built();  // two tensors in the state's arena
  program.execution_plans[0].non_const_buffer_sizes[2] = 4096;
  tensor(program, 2).allocation = pte::AllocationInfo{2, 1024};
  status = load_program(program);
  EXPECT_EQ(status.code(), ErrorCode::kUnsupported) << status.message();

  program = built();  // a tensor that nobody gives memory to
  tensor(program, 2).allocation.reset();
  EXPECT_FALSE(load_program(program).ok());

  program = built();  // strides
  tensor(program, 2).dim_order = {0};
  tensor(program, 1).dim_order = {1, 0};
  EXPECT_FALSE(load_program(program).ok());
}

TEST_F(ExecutorTest, NegativeThreadCountsAreRefused) {
  ExecutorOptions options;
  options.n_threads = -1;
  EXPECT_EQ(load({method_spec("run")}, options).code(), ErrorCode::kInvalidArgument);
}

// A device with a queue and the host, in calls of one method: both are at work at once where the
// program says that they may.
constexpr cria_delegate kDevice = {CRIA_DELEGATE_ABI_VERSION,
                                   "Device",
                                   fake_is_available,
                                   fake_init,
                                   fake_execute,
                                   fake_destroy,
                                   1};

class QueuedCalls : public ExecutorTest {
 protected:
  void SetUp() override {
    ExecutorTest::SetUp();
    ASSERT_TRUE(registry_.add(&kDevice).ok());
  }

  // Calls of Device, Fake, Device; the specs `after` of each, or none.
  static pte::MethodSpec shared(const std::vector<const char*>& after) {
    pte::MethodSpec spec = method_spec("run");
    spec.delegate_id = "Device";
    spec.then = {{"Fake", spec.blob, {}}, {"Device", spec.blob, {}}};
    spec.compile_specs.clear();
    for (std::size_t i = 0; i < after.size(); ++i) {
      auto& specs = i == 0 ? spec.compile_specs : spec.then[i - 1].compile_specs;
      specs.push_back(pte::text_spec("after", after[i]));
    }
    return spec;
  }
};

TEST_F(QueuedCalls, WorkAtOnceWhereTheProgramAllowsIt) {
  ASSERT_TRUE(load({shared({"", "", "0,1"})}).ok());
  EXPECT_THAT(fake.options, IsEmpty()) << "the order is the runtime's";
  std::mutex mutex;
  std::condition_variable changed;
  int n_come = 0;
  std::vector<std::thread::id> threads;
  fake.execute = [&](cria_tensor* args) {
    std::unique_lock lock(mutex);
    threads.push_back(std::this_thread::get_id());
    const int order = ++n_come;
    changed.notify_all();
    if (order == 3) {  // all are done: the last one says how many rows there are
      args[3].sizes[1] = 1;
      args[3].size_bytes = 2 * sizeof(float);
      return 0;
    }
    return changed.wait_for(lock, std::chrono::seconds(60), [&] { return n_come == 2; }) ? 0 : 1;
  };
  const Status status = run();
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(n_come, 3);
  EXPECT_NE(threads[0], threads[1]);
  EXPECT_EQ(output_.sizes[1], 1);
}

TEST_F(QueuedCalls, FollowEachOtherWhereItDoesNot) {
  int n_at_work = 0, n_calls = 0;
  struct Case {
    std::vector<const char*> after;
    bool listens;
  };
  for (const Case& c : {Case{{}, false}, Case{{"", "", "0,1"}, true}, Case{{"", "0", "1"}, false},
                        Case{{"", "0", "0,1"}, false}}) {
    ExecutorOptions options;
    if (c.listens) options.on_op = [](const auto&) {};
    ASSERT_TRUE(load({shared(c.after)}, options).ok());
    const std::thread::id here = std::this_thread::get_id();
    fake.execute = [&](cria_tensor*) {
      ++n_calls;
      return ++n_at_work == 1 && std::this_thread::get_id() == here && --n_at_work == 0 ? 0 : 1;
    };
    EXPECT_TRUE(run().ok());
  }
  EXPECT_EQ(n_calls, 12);
}

TEST_F(QueuedCalls, AFailureIsTheMethods) {
  ASSERT_TRUE(load({shared({"", "0", "0"})}).ok());  // the last two at once
  std::atomic<int> n_calls = 0;
  fake.execute = [&](cria_tensor*) { return ++n_calls == 1 ? 6 : 0; };
  EXPECT_FALSE(run().ok());
  EXPECT_EQ(n_calls, 1);
  fake.execute = [](cria_tensor*) { return 0; };
  EXPECT_TRUE(run().ok());
}

TEST_F(QueuedCalls, AnOrderThatCannotBeIsRefused) {
  for (const char* after : {"1", "0,", ",0", "x", "0 ", "-1", "0,1", "99999999999999999999"}) {
    const Status status = load({shared({"", after, "0"})});
    ASSERT_FALSE(status.ok()) << after;
    EXPECT_THAT(status.message(), HasSubstr("call 1 of a method: compile spec after is")) << after;
  }
}

}  // namespace
}  // namespace cria
