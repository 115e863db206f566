mod source;
mod waybill;

fn main() {}
