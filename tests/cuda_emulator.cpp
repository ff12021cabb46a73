// Runs the CUDA kernels on the processor: TABLE names a file with one ROW(kernel, Setup<...>) for every instance.
#include "cuda_emulator.h"

#include "backward.cuh"
#include "forward.cuh"

namespace emulator {

static const std::function<void()>* body;

static void enter() {
    (*body)();
    running->state = State::done;
    swapcontext(&running->context, &scheduler);
}

static void prepare(Fibre& fibre, unsigned index) {
    fibre.index.x = index;
    fibre.state = State::ready;
    fibre.exchanges = 0;
    fibre.stack.resize(STACK);
    getcontext(&fibre.context);
    fibre.context.uc_stack.ss_sp = fibre.stack.data();
    fibre.context.uc_stack.ss_size = STACK;
    fibre.context.uc_link = nullptr;
    makecontext(&fibre.context, enter, 0);
}

// Lets the fibres `first` to `last` go on once all of them wait for the same thing.
static bool release(size_t first, size_t last, State state) {
    size_t waiting = 0, left = 0;
    for (size_t i = first; i < last; ++i) waiting += fibres[i].state == state, left += fibres[i].state == State::done;
    if (!waiting) return false;
    running = &fibres[first];
    if (waiting + left == last - first && left) failure = failure.empty() ? "a thread left before its warp or block met" : failure;
    if (waiting != last - first) return false;
    for (size_t i = first; i < last; ++i) {
        if (fibres[i].operation != fibres[first].operation) failure = "the lanes of a warp met in different places";
        fibres[i].state = State::ready;
    }
    return true;
}

bool run_block(unsigned order) {
    const size_t count = block.size.x;
    for (unsigned i = 0; i < count; ++i) prepare(fibres[i], i);
    for (bool moved = true; moved && failure.empty();) {
        moved = false;
        for (size_t step = 0; step < count; ++step) {
            running = &fibres[order ? count - 1 - step : step];
            if (running->state != State::ready) continue;
            moved = true;
            swapcontext(&scheduler, &running->context);
        }
        for (size_t warp = 0; warp < count; warp += WARP) moved |= release(warp, warp + WARP, State::at_warp);
        moved |= release(0, count, State::at_block);
    }
    for (size_t i = 0; i < count; ++i)
        if (fibres[i].state != State::done && failure.empty()) failure = "threads wait for each other for ever";
    return failure.empty();
}

std::string launch(const std::function<void()>& kernel, unsigned blocks, unsigned threads, size_t shared, unsigned order) {
    failure.clear();
    if (threads % WARP || !threads || !blocks) return "a block must consist of whole warps";
    if (fibres.size() < threads) fibres = std::vector<Fibre>(threads);
    std::vector<unsigned char> memory(shared + CANARY + 16);
    body = &kernel;
    block.shared_bytes = shared;
    block.size.x = threads;
    block.shared = memory.data() + (16 - reinterpret_cast<size_t>(memory.data()) % 16) % 16;
    for (unsigned i = 0; i < blocks; ++i) {
        block.index.x = order ? blocks - 1 - i : i;
        std::memset(block.shared, 0xff, shared + CANARY);  // not a number: nothing may be read before it is written
        if (!run_block(order)) return failure;
        for (size_t j = 0; j < CANARY; ++j)
            if (block.shared[shared + j] != 0xff) return "shared memory was written beyond its end";
    }
    return "";
}

}  // namespace emulator

struct Row {
    const char* kernel;
    const char* setup;
    void (*run)(const dcnv3::Arguments&);
};

namespace dcnv3 {
#define ROW(kernel, ...) {#kernel, #__VA_ARGS__, kernel<__VA_ARGS__>},
static const Row rows[] = {
#include TABLE
};
}  // namespace dcnv3

// The rule that a kernel broke, "unknown kernel", or nothing.
extern "C" const char* emulate(const char* kernel, const char* setup, const dcnv3::Arguments* arguments, const unsigned long long* tensors,
                               unsigned count, unsigned blocks, unsigned threads, unsigned long long shared, unsigned order) {
    static std::string result;
    result = "unknown kernel";
    emulator::ranges.clear();
    for (unsigned i = 0; i < count; ++i) emulator::ranges.push_back({reinterpret_cast<const unsigned char*>(tensors[2 * i]), tensors[2 * i + 1]});
    for (const Row& row : dcnv3::rows)
        if (!std::strcmp(row.kernel, kernel) && !std::strcmp(row.setup, setup))
            result = emulator::launch([&] { row.run(*arguments); }, blocks, threads, shared, order);
    return result.c_str();
}

extern "C" unsigned long long arguments_size() { return sizeof(dcnv3::Arguments); }
