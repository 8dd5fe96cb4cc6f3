// Sends one message: node nodemailer.js WHERE-NODEMAILER-IS JSON, with `server`, what to connect to, and `message`.
const [where, asked] = process.argv.slice(2);
const { server, message } = JSON.parse(asked);
require(where)
  .createTransport(server)
  .sendMail(message)
  .then((sent) => console.log(sent.response))
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
