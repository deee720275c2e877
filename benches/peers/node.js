// One peer of `cargo bench --bench peers`, in Node: NAME DIRECTORY LINE. See python.py.

const fs = require("fs");
const path = require("path");
const readline = require("readline");

const [name, directory, line] = process.argv.slice(2);
const log = path.join(directory, "log");
let lockfile;
try {
  lockfile = require("proper-lockfile");
} catch {
  console.log("missing");
  process.exit();
}
fs.writeFileSync(log, "");

const peers = {
  async lock_sync() {
    const release = lockfile.lockSync(log);
    fs.appendFileSync(log, line + "\n");
    release();
  },
  async lock_async() {
    const release = await lockfile.lock(log);
    await fs.promises.appendFile(log, line + "\n");
    await release();
  },
};

async function main() {
  console.log("ready");
  for await (const number of readline.createInterface({ input: process.stdin })) {
    const begun = process.hrtime.bigint();
    for (let n = 0; n < Number(number); n++) await peers[name]();
    console.log(String(process.hrtime.bigint() - begun));
  }
}
main();
